// Handlers that need something, and are made by a function.
#include <tether/loopback_worker.hpp>

#include <asio/io_context.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/text.hpp"

namespace loopback_factory_test {

struct Note {
    static constexpr std::string_view name = "note";
    using Response = int;
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Note, text)

struct NoteProtocol {
    static constexpr std::string_view name = "test.note";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Note>;
};

namespace {

using tether::CallError;
using tether::errc;
using tether::WorkerOptions;
using Worker = tether::LoopbackWorker<NoteProtocol>;

/// Writes into what the test gave it; not default-constructible.
class FakeNotes final : public tether::Handler<NoteProtocol> {
public:
    explicit FakeNotes(std::vector<std::string>& log) : log_(log) {}
    ~FakeNotes() override { log_.emplace_back("end"); }

private:
    int handle(const Note& request, tether::CallContext<Note>&) override {
        log_.push_back(request.text);
        return ++count_;
    }

    std::vector<std::string>& log_;
    int count_ = 0;
};

/// The error that `call` ends with.
template <class Call>
CallError error_of(Call call) {
    try {
        call();
    } catch (const CallError& error) {
        return error;
    }
    return {errc::handler, "there was no error"};  // which no test expects
}

}  // namespace

TEST_CASE("a function makes the handler, for each generation", "[loopback]") {
    std::vector<std::string> log;
    int made = 0;
    const auto caller = std::this_thread::get_id();
    {
        Worker worker{[&] {
            ++made;
            CHECK(std::this_thread::get_id() == caller);
            return std::make_unique<FakeNotes>(log);
        }};
        CHECK(made == 0);
        CHECK(worker.call(Note{"a"}) == 1);
        CHECK(worker.call(Note{"b"}) == 2);
        worker.kill();
        CHECK(worker.call(Note{"c"}) == 1);
        CHECK(worker.generation() == 2u);
    }
    CHECK(made == 2);
    CHECK((log == std::vector<std::string>{"a", "b", "end", "c", "end"}));
}

TEST_CASE("a function beside an executor and options", "[loopback]") {
    std::vector<std::string> log;
    const auto make = [&] { return std::make_unique<FakeNotes>(log); };
    Worker named{make, WorkerOptions{.name = "notes"}};
    CHECK(named.call(Note{"a"}) == 1);
    asio::io_context context;
    Worker first{context, make};
    Worker second{context.get_executor(), make, WorkerOptions{.concurrency = 2}};
    CHECK(first.get_executor() == context.get_executor());
    int answers = 0;
    for (auto* worker : {&first, &second}) {
        worker->async_call(Note{"b"}, [&](std::exception_ptr, int count) { answers += count; });
        context.restart();
        context.run();  // one after the other, since both write to the log
    }
    CHECK(answers == 2);
}

TEST_CASE("a function that owns what it uses, and makes any kind of handler", "[loopback]") {
    auto log = std::make_unique<std::vector<std::string>>();
    auto& seen = *log;
    Worker worker{[log = std::move(log)]() -> std::unique_ptr<tether::Handler<NoteProtocol>> {
        return std::make_unique<FakeNotes>(*log);
    }};
    CHECK(worker.call(Note{"a"}) == 1);
    Worker moved{std::move(worker)};
    CHECK(moved.call(Note{"b"}) == 2);
    CHECK((seen == std::vector<std::string>{"a", "b"}));
}

TEST_CASE("a function that throws or returns null fails the call", "[loopback][F53]") {
    std::vector<std::string> log;
    enum { throws, returns_null, works } how = throws;
    Worker worker{[&]() -> std::unique_ptr<FakeNotes> {
        if (how == throws) throw std::runtime_error("no notebook");
        if (how == returns_null) return nullptr;
        return std::make_unique<FakeNotes>(log);
    }};
    const auto thrown = error_of([&] { worker.call(Note{}); });
    CHECK(thrown.code() == errc::start_failed);
    CHECK(tether_test::contains(thrown.what(), "no notebook"));
    how = returns_null;
    const auto null = error_of([&] { worker.call(Note{}); });
    CHECK(null.code() == errc::start_failed);
    CHECK(tether_test::contains(null.what(), "returned null"));
    how = works;
    CHECK(worker.call(Note{}) == 1);
}

TEST_CASE("a function may look at its worker, but not call it", "[loopback]") {
    std::vector<std::string> log;
    Worker* face = nullptr;
    CallError error{errc::handler, ""};
    Worker worker{[&] {
        CHECK(face->state() == tether::WorkerState::ended);
        CHECK(face->generation() == 1u);
        error = error_of([&] { face->call(Note{}); });
        return std::make_unique<FakeNotes>(log);
    }};
    face = &worker;
    CHECK(worker.call(Note{}) == 1);
    CHECK(error.code() == errc::would_deadlock);
}

TEST_CASE("calls from several threads wait for the one handler", "[loopback]") {
    std::vector<std::string> log;
    int made = 0;
    Worker worker{[&] {
        ++made;
        std::this_thread::yield();
        return std::make_unique<FakeNotes>(log);
    }};
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] { static_cast<void>(worker.call(Note{})); });
    }
    threads.clear();
    CHECK(made == 1);
    CHECK(worker.call(Note{}) == 9);
}

}  // namespace loopback_factory_test
