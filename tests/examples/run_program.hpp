#pragma once

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "support/catch.hpp"

/// A program that ran to its end.
struct ProgramRun {
    int exit_code = -1;  // -1: a signal ended it
    std::string out{};   // its stdout
};

/// Runs `command` in a shell, with a mark in its environment that what it leaves behind is found
/// by.
inline ProgramRun run_program(const std::string& command) {
    const auto marked = "TETHER_TEST_RUN=" + std::to_string(getpid()) + " " + command;
    FILE* pipe = popen(marked.c_str(), "r");
    REQUIRE(pipe != nullptr);
    ProgramRun run;
    char buffer[4096];
    while (const auto size = std::fread(buffer, 1, sizeof buffer, pipe)) {
        run.out.append(buffer, size);
    }
    const int status = pclose(pipe);
    if (WIFEXITED(status)) run.exit_code = WEXITSTATUS(status);
    return run;
}

/// Processes that run_program() started, directly or not, and that still run.
inline std::vector<std::string> left_behind() {
    const auto mark = "TETHER_TEST_RUN=" + std::to_string(getpid()) + '\0';
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
        std::ifstream file{entry.path() / "environ", std::ios::binary};
        const std::string environment{std::istreambuf_iterator<char>{file}, {}};
        if (environment.find(mark) != std::string::npos) found.push_back(entry.path().string());
    }
    return found;
}

/// True as soon as none is left, false after ten seconds.
inline bool nothing_left_behind() {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::seconds{10};
    while (!left_behind().empty()) {
        if (Clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    return true;
}
