// A parent whose worker is written in another language: worker.py.
#include <tether/tether.hpp>

#include <exception>
#include <iostream>

#include "greet_protocol.hpp"

int main(int argc, char** argv) {
    if (argc < 2) {
        std::cerr << "usage: python_worker path/to/worker.py [WORD]\n";
        return 2;
    }
    // -B: Python leaves no __pycache__ beside the sources.
    tether::Worker<GreetProtocol> worker{{.program = "python3", .arguments = {"-B", argv[1]}}};
    try {
        std::cout << worker.call(Greet{"snake"}) << '\n';
        for (const auto& letter : worker.call(Spell{argc > 2 ? argv[2] : "Tether", 10})) {
            std::cout << letter << '-';
        }
        std::cout << '\n';
        worker.call(Greet{});
    } catch (const tether::RemoteError& error) {
        std::cout << "refused: " << error.remote_code() << ": " << error.message() << '\n';
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
    }
    return 1;
}
