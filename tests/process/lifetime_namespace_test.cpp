// The host is process 1, or an orphan under a subreaper: what others take for a lost parent.

#include <sys/prctl.h>

#include "host_process.hpp"

namespace tether_lifetime::namespaces {

using namespace std::chrono_literals;

namespace {

const std::vector<std::string> as_first_process{"unshare", "--pid", "--fork", "--kill-child",
                                                "--mount-proc"};

bool can_unshare() {
    return ::system("unshare --pid --fork --kill-child --mount-proc true >/dev/null 2>&1") == 0;
}

// Orphans come to this process while it lives.
class Subreaper {
public:
    Subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }
    Subreaper(const Subreaper&) = delete;
    Subreaper& operator=(const Subreaper&) = delete;
    ~Subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 0); }
};

}  // namespace

TEST_CASE("the host may be process 1", "[F26]") {
    if (!can_unshare()) {
        WARN("not tried: no right to make a pid namespace");
        return;
    }
    const std::string end = GENERATE("return", "exit", "_exit");
    Scene scene;
    Host host{scene, "host", {}, {.wrapper = as_first_process}};
    REQUIRE(scene.wait_for("main") == "1");
    const auto worker = scene.wait_for("spawned");
    REQUIRE(worker);
    // Long enough for whatever looks now and then whether the parent is still there.
    host.type("call echo x\ncall for 1200\npid\n");
    CHECK(scene.wait_for("answer") == "x");
    CHECK(scene.wait_for("answer") == "done");
    CHECK(scene.wait_for("pid") == *worker + " generation 1");
    host.type("end " + end + "\n");
    CHECK(host.wait() == "exit 7");
    if (end != "_exit") CHECK(scene.count("destroyed") == 1);
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("process 1 is killed", "[F26][F22]") {
    if (!can_unshare()) {
        WARN("not tried: no right to make a pid namespace");
        return;
    }
    Scene scene;
    Host host{scene, "host", {}, {.wrapper = as_first_process}};
    host.type("call spin\n");
    REQUIRE(scene.wait_for("running"));
    host.send(SIGKILL);
    CHECK(host.wait() == "signal 9");
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("namespaces with the same process ids share a temporary directory", "[F7]") {
    if (!can_unshare()) {
        WARN("not tried: no right to make a pid namespace");
        return;
    }
    Scene scene;
    for (int i = 0; i < rounds(10); ++i) {
        Host one{scene, "host", {"transport=unix_path"}, {.wrapper = as_first_process}};
        Host other{scene, "host", {"transport=unix_path"}, {.wrapper = as_first_process}};
        for (auto* host : {&one, &other}) host->type("call echo x\nend return\n");
        CHECK(scene.wait_for("answer") == "x");
        CHECK(scene.wait_for("answer") == "x");
        CHECK(one.wait() == "exit 7");
        CHECK(other.wait() == "exit 7");
        CHECK(scene.temp_entries().empty());
    }
}

TEST_CASE("a subreaper above the host changes nothing", "[F26]") {
    const Subreaper subreaper;
    const std::string end = GENERATE("sigkill", "_exit", "exit", "abort");
    Scene scene;
    Host host{scene, "host", {}};
    const auto worker = scene.wait_for("spawned");
    REQUIRE(worker);
    host.type("call for 600\n");
    CHECK(scene.wait_for("answer") == "done");
    host.type("end " + end + "\n");
    CHECK(host.wait() != "still running");
    CHECK(scene.left_after(soon).empty());
    // Ours to reap, where the host did not.
    const auto pid = static_cast<::pid_t>(std::stol(*worker));
    if (end == "exit") {
        CHECK(::waitpid(pid, nullptr, WNOHANG) == -1);
    } else {
        CHECK(eventually([&] { return ::waitpid(pid, nullptr, WNOHANG) == pid; }));
    }
}

TEST_CASE("without a loopback interface only tcp fails, and says so", "[F89]") {
    if (::system("unshare --net true >/dev/null 2>&1") != 0) {
        WARN("not tried: no right to make a network namespace");
        return;
    }
    const std::string transport = GENERATE("automatic", "unix_abstract", "unix_path", "tcp");
    Scene scene;
    Host host{scene, "host", {"transport=" + transport}, {.wrapper = {"unshare", "--net"}}};
    host.type("call echo x\nend return\n");
    const auto answer = scene.wait_for("answer");
    REQUIRE(answer);
    INFO(*answer);
    if (transport == "tcp") {
        CHECK(answer->find("error the worker could not be started") == 0);
    } else {
        CHECK(*answer == "x");
    }
    CHECK(host.wait() == "exit 7");
}

TEST_CASE("a temporary directory may be read-only, or allow no programs", "[F67]") {
    if (::system("unshare --mount true >/dev/null 2>&1") != 0) {
        WARN("not tried: no right to make a mount namespace");
        return;
    }
    const std::string flags = GENERATE("ro", "noexec", "ro,noexec");
    Scene scene;
    const std::string mount =
        "mount -t tmpfs -o " + flags + " none " + scene.temp() + " && exec \"$0\" \"$@\"";
    Host host{scene,
              "host",
              {"transport=unix_path"},
              {.environment = {{"XDG_RUNTIME_DIR", scene.temp()}},
               .wrapper = {"unshare", "--mount", "sh", "-c", mount}}};
    host.type("call echo x\nend return\n");
    CHECK(scene.wait_for("answer") == "x");
    CHECK(host.wait() == "exit 7");
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("the host may be an orphan", "[F26]") {
    const Subreaper subreaper;
    Scene scene;
    // Its first parent ends at once; its stdin is that of the parent, kept as 3.
    const std::string script = "exec 3<&0; \"$1\" <&3 & exit 3";
    Host first{scene, "", {}, {.wrapper = {"sh", "-c", script, "sh", host_path("host")}}};
    const auto host = scene.wait_for("main");
    REQUIRE(host);
    CHECK(first.wait() == "exit 3");
    const auto worker = scene.wait_for("spawned");
    REQUIRE(worker);
    first.type("call for 600\npid\nend exit\n");
    CHECK(scene.wait_for("answer") == "done");
    CHECK(scene.wait_for("pid") == *worker + " generation 1");
    CHECK(scene.left_after(soon).empty());
    CHECK(scene.count("destroyed") == 1);
    CHECK(::waitpid(static_cast<::pid_t>(std::stol(*host)), nullptr, WNOHANG) > 0);
}

}  // namespace tether_lifetime::namespaces
