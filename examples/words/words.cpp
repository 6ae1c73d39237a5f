// words: counts the words of many files, with a pool of workers.
#include <tether/tether.hpp>
#include <tether/worker_pool.hpp>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

struct CountWords {
    static constexpr std::string_view name = "count_words";
    using Response = std::int64_t;
    static constexpr bool idempotent = true;
    std::string file{};
};
TETHER_DEFINE_MESSAGE(CountWords, file)

struct WordsProtocol {
    static constexpr std::string_view name = "example.words";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<CountWords>;
    using Codec = tether::DirectCodec;
};

class WordCounter final : public tether::Handler<WordsProtocol> {
    std::int64_t handle(const CountWords& request, tether::CallContext<CountWords>&) override {
        std::ifstream file{request.file};
        if (!file) throw tether::HandlerError("no_file", "cannot read " + request.file);
        return std::distance(std::istream_iterator<std::string>{file}, {});
    }
};

int main(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<WordCounter>(argc, argv)) return *exit_code;
    std::vector<CountWords> requests;
    for (const std::string_view argument : std::vector<std::string_view>{argv + 1, argv + argc}) {
        if (argument != "--stats") requests.push_back({std::string{argument}});
    }
    try {
        tether::WorkerPool<WordsProtocol> pool{{.worker = {.name = "words"}}};
        std::int64_t total = 0;
        auto request = requests.begin();
        for (const auto count : pool.map(requests)) {
            std::cout << count << ' ' << (request++)->file << '\n';
            total += count;
        }
        std::cout << total << " in all\n";
        const std::string_view last = argc > 1 ? argv[argc - 1] : "";
        if (last == "--stats") std::cerr << to_string(pool.statistics());
        return 0;
    } catch (const tether::CallError& error) {
        std::cerr << "words: " << error.what() << '\n';
        return 1;
    }
}
