// The same worker in Python, with streams, progress, questions, notifications and one-way requests.
#include <tether/tether.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "../../examples/python_worker/greet_protocol.hpp"
#include "../../examples/python_worker/translate_protocol.hpp"
#include "support/catch.hpp"

namespace {

using namespace std::chrono_literals;

tether::WorkerOptions options(const std::string& script) {
    tether::WorkerOptions result;
    result.program = "python3";
    result.arguments = {"-B", TETHER_SOURCE_DIR "/examples/python_worker/" + script};
    result.output = tether::Output::discard();
    result.call_timeout = 30s;
    return result;
}

bool python_is_there() {
    static const bool found = std::system("python3 -c 'import fcntl' 2>/dev/null") == 0;
    if (!found) WARN("skipped: there is no python3");
    return found;
}

std::string meaning_of(const Meaning& question) {
    if (question.word == "?") throw tether::HandlerError("no_word", "that is none");
    return '<' + question.word + '>';
}

/// What worker.py would have to be to speak of more.
struct LiveGreetProtocol : GreetProtocol {
    using Notifications = tether::Messages<Learned>;
};

/// A translator, and what it has told.
class Translator {
public:
    Translator() { worker.provide<Meaning>(meaning_of); }

    bool has_learned(std::size_t count) {
        std::unique_lock lock{mutex_};
        return changed_.wait_for(lock, 30s, [&] { return learned_.size() >= count; });
    }

    tether::Worker<TranslateProtocol> worker{options("translator.py")};

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::string> learned_;
    tether::Subscription subscription_ = worker.on<Learned>([this](const Learned& learned) {
        const std::scoped_lock lock{mutex_};
        learned_.push_back(learned.word + learned.meaning);
        changed_.notify_all();
    });
};

}  // namespace

TEST_CASE("python live worker: the example", "[python]") {
    if (!python_is_there()) return;
    Translator translator;
    std::int64_t newest = 0;
    tether::CallOptions<Translate> with_progress;
    with_progress.on_progress = [&](const std::int64_t& count) { newest = count; };
    auto stream = translator.worker.stream(Translate{}, with_progress);
    for (const auto* word : {"one", "two", "one"}) {
        REQUIRE(stream.write(word));
        CHECK(stream.next() == '<' + std::string{word} + '>');
    }
    stream.finish();
    CHECK_FALSE(stream.next());
    CHECK(stream.response() == 3);
    CHECK(newest == 3);
    CHECK(translator.has_learned(2));
}

TEST_CASE("python live worker: requests without an answer", "[python]") {
    if (!python_is_there()) return;
    Translator translator;
    for (std::size_t round = 1; round <= 3; ++round) {
        auto stream = translator.worker.stream(Translate{});
        stream.write("word");
        stream.finish();
        CHECK(stream.response() == 1);
        CHECK(translator.has_learned(round));
        translator.worker.notify(Forget{"word"});
        translator.worker.notify(Forget{"what it does not know"});  // fails, and is not answered
    }
    CHECK(translator.worker.generation() == 1);
}

TEST_CASE("python live worker: windows in both directions, and items of many frames", "[python]") {
    if (!python_is_there()) return;
    Translator translator;
    for (const auto& [count, size] : std::map<int, std::size_t>{{2000, 10'000}, {3, 3'000'000}}) {
        INFO(count);
        const std::string word(size, 'w');
        auto stream = translator.worker.stream(Translate{});
        int received = 0;
        for (int i = 0; i < count; ++i) {
            REQUIRE(stream.write(word));
            if (i % 20 != 2) continue;  // the worker is ahead by that much
            for (; received <= i; ++received) REQUIRE(stream.next()->size() == size + 2);
        }
        stream.finish();
        while (stream.next()) ++received;
        CHECK(received == count);
        CHECK(stream.response() == count);
    }
    CHECK(translator.worker.generation() == 1);
}

TEST_CASE("python live worker: questions that have no answer", "[python]") {
    if (!python_is_there()) return;
    Translator translator;
    auto stream = translator.worker.stream(Translate{});
    stream.write("?");
    try {
        stream.next();
        FAIL("no error");
    } catch (const tether::RemoteError& error) {
        CHECK(error.remote_code() == "no_word");
        CHECK(error.message() == "that is none");
    }
}

TEST_CASE("python live worker: a stream that is dropped", "[python]") {
    if (!python_is_there()) return;
    Translator translator;
    {
        auto dropped = translator.worker.stream(Translate{});
        dropped.write("one");
        CHECK(dropped.next() == "<one>");
    }
    auto stream = translator.worker.stream(Translate{});
    stream.finish();
    CHECK(stream.response() == 0);
    const auto status = translator.worker.stop();
    REQUIRE(status);
    CHECK(status->success());
}

TEST_CASE("python live worker: a worker that has none of that refuses", "[python]") {
    if (!python_is_there()) return;
    tether::Worker<LiveGreetProtocol> worker{options("worker.py")};
    try {
        worker.call(Greet{"you"});
        FAIL("no error");
    } catch (const tether::CallError& error) {
        CHECK(error.code() == tether::errc::protocol_mismatch);
    }
}
