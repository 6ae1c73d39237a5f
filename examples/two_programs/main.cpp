// The parent's program. Its worker is a program of its own, in the same folder.
#include <tether/tether.hpp>

#include <filesystem>
#include <iostream>

#include "count_protocol.hpp"

int main(int argc, char** argv) {
    if (argc < 2) {
        std::cerr << "usage: word_count FILE...\n";
        return 2;
    }
    tether::Worker<CountProtocol> worker{
        {.program = tether::beside_executable("word_count_worker")}};

    int exit_code = 0;
    for (int i = 1; i < argc; ++i) {
        try {
            const Counts counts = worker.call(Count{std::filesystem::absolute(argv[i])});
            std::cout << counts.lines << ' ' << counts.words << ' ' << argv[i] << '\n';
        } catch (const tether::RemoteError& error) {  // of this file
            std::cerr << argv[i] << ": " << error.message() << '\n';
            exit_code = 1;
        } catch (const tether::CallError& error) {  // of the worker: say, its program is missing
            std::cerr << error.what() << '\n';
            return 1;
        }
    }
    return exit_code;
}
