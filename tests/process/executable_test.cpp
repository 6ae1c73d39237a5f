// A host that starts itself finds its own program, however it was started.

#include <tether/beside_executable.hpp>

#include <filesystem>
#include <stdexcept>

#include <link.h>

#include "host_process.hpp"

namespace tether_lifetime::executable {

using namespace std::chrono_literals;

namespace {

// The loader of this program, which is that of the hosts as well; "" where it has none.
std::string loader() {
    std::string path;
    ::dl_iterate_phdr(
        [](::dl_phdr_info* object, std::size_t, void* found) {
            for (int i = 0; i < object->dlpi_phnum; ++i) {
                const auto& segment = object->dlpi_phdr[i];
                if (segment.p_type != PT_INTERP) continue;
                *static_cast<std::string*>(found) =
                    reinterpret_cast<const char*>(object->dlpi_addr + segment.p_vaddr);
            }
            return 1;
        },
        &path);
    return path;
}

// Without what /proc would tell.
std::vector<std::string> without_proc(const std::string& then) {
    return {"unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && " + then};
}

bool can_unmount() {
    return ::system("unshare --mount mount -t tmpfs none /proc >/dev/null 2>&1") == 0;
}

void check_call(Scene& scene, Host& host) {
    host.type("call echo x\nend return\n");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.wait_for("answer") == "x");
    CHECK(host.wait() == "exit 7");
}

}  // namespace

TEST_CASE("a program that a loader was run by hand for starts itself", "[F100]") {
    if (instrumented || loader().empty()) return;  // sanitizers refuse to be started so
    const auto option = GENERATE(as<std::string>{}, "", "--inhibit-cache");
    std::vector<std::string> wrapper{loader()};
    if (!option.empty()) wrapper.push_back(option);
    Scene scene;
    Host host{scene, "host", {}, {.wrapper = wrapper}};
    host.type("call output_of tr '\\0' ' ' </proc/$PPID/cmdline\n");
    const auto command = scene.wait_for("answer");
    check_call(scene, host);
    REQUIRE(command);
    INFO(*command);
    CHECK(command->find(loader()) == 0);
    CHECK(command->find(option) != std::string::npos);
    CHECK(command->find("/host ") != std::string::npos);
}

TEST_CASE("a host whose main thread has ended starts itself", "[F100]") {
    if (instrumented) return;  // a leak checker looks for the main thread
    Scene scene;
    Host host{scene, "host", {}};
    host.type("leave_main_thread\nkill\ncall echo x\nend exit\n");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.wait_for("answer") == "x");
    CHECK(host.wait() == "exit 7");
}

TEST_CASE("a host without /proc starts itself", "[F100]") {
    if (instrumented) return;  // sanitizers want /proc
    if (!can_unmount()) {
        WARN("not tried: no right to make a mount namespace");
        return;
    }
    const std::string then = GENERATE(R"(exec "$0" "$@")",  // absolute, then relative
                                      R"(cd "${0%/*}" && exec "./${0##*/}" "$@")");
    Scene scene;
    Host host{scene, "host", {}, {.wrapper = without_proc(then)}};
    check_call(scene, host);
}

TEST_CASE("a host that cannot find its program says what to set", "[F100]") {
    if (instrumented) return;
    if (!can_unmount()) {
        WARN("not tried: no right to make a mount namespace");
        return;
    }
    Scene scene;
    const auto link = scene.path("link");
    std::filesystem::create_symlink(host_path("host"), link);
    Host host{scene, "host", {}, {.wrapper = without_proc("exec " + link + " \"$@\"")}};
    host.type("call echo x\n");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.wait_for("answer") == "x");
    std::filesystem::remove(link);
    host.type("kill\ncall echo y\nend return\n");
    const auto answer = scene.wait_for("answer");
    REQUIRE(answer);
    INFO(*answer);
    CHECK(answer->find("error the worker could not be started (") == 0);
    CHECK(answer->find("set WorkerOptions::program") != std::string::npos);
    CHECK(host.wait() == "exit 7");
}

// What beside_executable() finds for the program `command`, which runs in another folder.
std::string beside(Scene& scene, const std::string& name, std::vector<std::string> wrapper = {}) {
    wrapper.insert(wrapper.begin(), {"sh", "-c", "cd / && exec \"$0\" \"$@\""});
    Host host{scene, "debugged", {}, {.wrapper = wrapper}};
    host.type("beside " + name + "\n");
    TETHER_TELL_STORY(scene, host);
    auto answer = scene.wait_for("beside").value_or("nothing");
    host.close_input();
    CHECK(host.wait() == "exit 0");
    return answer;
}

TEST_CASE("a program beside the executable is found from anywhere", "[F100]") {
    Scene scene;
    CHECK(beside(scene, "host") == host_path("host") + ";");
    const auto folder = std::filesystem::path{TETHER_HOSTS_DIR}.filename().string();
    CHECK(beside(scene, "../" + folder + "/host") == host_path("host") + ";");
}

TEST_CASE("a program beside the executable is found through a loader", "[F100]") {
    if (instrumented || loader().empty()) return;  // sanitizers refuse to be started so
    Scene scene;
    CHECK(beside(scene, "host", {loader()}) == host_path("host") + ";");
}

TEST_CASE("a program beside the executable is found through a link, and when that is gone",
          "[F100]") {
    Scene scene;
    const auto place = scene.path("place");
    std::filesystem::create_directory(place);
    std::filesystem::copy_file(host_path("debugged"), place + "/tool");
    std::filesystem::copy_file(host_path("host"), place + "/lint-worker");
    std::filesystem::create_symlink(place + "/tool", scene.path("link"));
    Host host{
        scene, "debugged", {}, {.wrapper = {"sh", "-c", "exec '" + scene.path("link") + "'"}}};
    REQUIRE(scene.wait_for("spawned"));
    host.type("beside lint-worker\n");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.wait_for("beside") == place + "/lint-worker;");
    std::filesystem::remove(place + "/tool");
    host.type("beside lint-worker\n");
    CHECK(scene.wait_for("beside") == place + "/lint-worker;");
}

TEST_CASE("a program that is not beside the executable is missed by its whole path", "[F100]") {
    Scene scene;
    const auto answer = beside(scene, "lint-worker");
    INFO(answer);
    CHECK(answer.find("error the worker could not be started (") == 0);
    CHECK(answer.find(" " + host_path("lint-worker") + ": No such file") != std::string::npos);
}

TEST_CASE("only a relative path is beside the executable", "[F100]") {
    for (const auto& name : {std::string{}, std::string{"/bin/sh"}, std::string{"a\0b", 3}}) {
        CHECK_THROWS_AS(tether::beside_executable(name), std::invalid_argument);
    }
    CHECK(tether::beside_executable("./a").ends_with("/a"));
}

}  // namespace tether_lifetime::executable
