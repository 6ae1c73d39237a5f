// The host is in the foreground of a terminal.

#include <termios.h>

#include "host_process.hpp"

namespace tether_lifetime::terminal {

using namespace std::chrono_literals;

namespace {

class Terminal {
public:
    Terminal() : master_(checked(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), "posix_openpt")) {
        char name[128];
        if (::grantpt(master_.get()) != 0 || ::unlockpt(master_.get()) != 0 ||
            ::ptsname_r(master_.get(), name, sizeof name) != 0) {
            throw std::system_error(errno, std::system_category(), "pty");
        }
        name_ = name;
        // Held open, or the master would report a hang-up when nobody else has it open.
        slave_ = checked(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC), "pty slave");
    }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    void type(std::string_view text) const {
        (void)!::write(master_.get(), text.data(), text.size());
    }
    void close() {
        slave_.reset();
        master_.reset();
    }
    // As `stty -g` shows it.
    [[nodiscard]] std::string settings() const {
        ::termios state{};
        ::tcgetattr(slave_.get(), &state);
        std::ostringstream text;
        text << state.c_iflag << ':' << state.c_oflag << ':' << state.c_cflag << ':'
             << state.c_lflag;
        for (const auto c : state.c_cc) text << ':' << int{c};
        return text.str();
    }

private:
    Fd master_;
    Fd slave_;
    std::string name_;
};

}  // namespace

TEST_CASE("after Ctrl-C the host's own handler makes one last call", "[F24][F46]") {
    Scene scene;
    Terminal terminal;
    const auto settings = terminal.settings();
    Host host{scene, "host", {}, {.terminal = terminal.name()}};
    REQUIRE(scene.wait_for("spawned"));
    terminal.type("interrupted\n");
    REQUIRE(scene.wait_for("running"));
    terminal.type("\x03");
    const auto busy = scene.wait_for("busy");
    REQUIRE(busy);
    CHECK(busy->starts_with("error the call was cancelled"));
    CHECK(scene.wait_for("last") == "goodbye");
    CHECK(host.wait() == "exit 130");
    CHECK(scene.left_after(soon).empty());
    CHECK(terminal.settings() == settings);
}

TEST_CASE("Ctrl-C ends a host without a handler, and its worker", "[F24]") {
    Scene scene;
    Terminal terminal;
    Host host{scene, "host", {}, {.terminal = terminal.name()}};
    REQUIRE(scene.wait_for("spawned"));
    terminal.type(GENERATE("call until_stopped\n", "call spin\n"));
    REQUIRE(scene.wait_for("running"));
    terminal.type("\x03");
    CHECK(host.wait() == "signal 2");
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("a closed terminal ends the host and its worker", "[F25]") {
    Scene scene;
    Terminal terminal;
    Host host{scene, "host", {}, {.terminal = terminal.name()}};
    REQUIRE(scene.wait_for("spawned"));
    terminal.type(GENERATE("call until_stopped\n", "call spin\n"));
    REQUIRE(scene.wait_for("running"));
    terminal.close();
    CHECK(host.wait() == "signal 1");
    const auto left = scene.left_after(soon);
    INFO("left: " << Scene::describe(left));
    CHECK(left.empty());
}

TEST_CASE("a host that survives its terminal goes on with its worker", "[F25]") {
    Scene scene;
    Terminal terminal;
    Host host{scene, "host", {"ignore_hangup=1"}, {.terminal = terminal.name()}};
    REQUIRE(scene.wait_for("spawned"));
    // Its input ends with the terminal, so that it returns from main afterwards.
    terminal.type("call for 300\n");
    REQUIRE(scene.wait_for("running"));
    terminal.close();
    CHECK(scene.wait_for("answer") == "done");
    CHECK(host.wait() == "exit 0");
    CHECK(scene.count("destroyed") == 1);
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("a terminal is as it was, also when the host was killed", "[F46]") {
    Scene scene;
    Terminal terminal;
    const auto settings = terminal.settings();
    Host host{scene, "host", {}, {.terminal = terminal.name()}};
    REQUIRE(scene.wait_for("spawned"));
    terminal.type("call until_stopped\n");
    REQUIRE(scene.wait_for("running"));
    CHECK(terminal.settings() == settings);
    host.send(SIGKILL);
    CHECK(host.wait() == "signal 9");
    CHECK(scene.left_after(soon).empty());
    CHECK(terminal.settings() == settings);
}

TEST_CASE("a terminal that nobody reads holds up nobody", "[F52]") {
    const std::string storage = GENERATE("local", "leaked");
    const std::string way = GENERATE("return", "exit");
    INFO(storage << ", " << way);
    Scene scene;
    Terminal terminal;
    // Only its stderr: the test goes on typing into a pipe.
    const auto script = "exec \"$0\" \"$@\" 2> " + terminal.name();
    Host host{scene, "host", {"storage=" + storage}, {.wrapper = {"/bin/sh", "-c", script}}};
    for (int i = 0; i < 5; ++i) {
        host.type("call print_lines 4\n");
        REQUIRE(scene.wait_for("answer") == "printed");
    }
    host.type("call echo still here\n");
    CHECK(scene.wait_for("answer") == "still here");
    if (storage == "local") {
        host.type("stop\n");
        CHECK(scene.wait_for("stopped") == "exited with code 0");
    }
    host.type("end " + way + "\n");
    REQUIRE(scene.wait_for("ending"));
    const auto start = SteadyClock::now();
    CHECK(host.wait() == "exit 7");
    print_time("stderr is a terminal that nobody reads, ended after", since(start));
    CHECK(since(start) < soon);
    CHECK(scene.left_after(soon).empty());
}

}  // namespace tether_lifetime::terminal
