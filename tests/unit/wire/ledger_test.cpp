// What a worker notes for its parent, on a piece of memory in this process.
#include <tether/detail/wire/ledger.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "support/catch.hpp"

namespace ledger_test {

using namespace tether::detail;

struct Memory {
    std::unique_ptr<LedgerPages> pages = std::make_unique<LedgerPages>();
    Ledger parent{pages.get()};
};

Begun close(const Ledger& ledger, bool welcomed) {
    ledger.close();
    return ledger.look(welcomed);
}

OutgoingMessage answer(std::uint64_t number, std::size_t size = 10) {
    OutgoingMessage message;
    message.payload().append(size, 'x');
    message.seal();
    message.open(FrameType::response, 0, number);
    return message;
}

TEST_CASE("without shared memory everything may have begun", "[F107]") {
    LedgerWriter worker;
    CHECK(worker.begin(1));
    CHECK(worker.hold(answer(1), true));
    const Ledger parent;
    CHECK_FALSE(close(parent, true).known());
    CHECK(parent.held().empty());
}

TEST_CASE("a worker that keeps no ledger is not taken to have begun nothing", "[F107]") {
    const Memory memory;
    CHECK_FALSE(close(memory.parent, true).known());
    const Ledger of_the_same_program{memory.pages.get(), true};
    CHECK(close(of_the_same_program, false).known());
    CHECK_FALSE(close(of_the_same_program, true).known());  // it has lost it on the way
}

TEST_CASE("the parent finds what was begun, and closes it for what was not", "[F107]") {
    const Memory memory;
    LedgerWriter worker{memory.pages.get()};
    CHECK(worker.begin(7));
    const auto begun = close(memory.parent, true);
    CHECK(begun.known());
    CHECK(begun.contains(7));
    CHECK_FALSE(begun.contains(8));
    CHECK_FALSE(worker.begin(8));
}

TEST_CASE("a request is not forgotten, however many there were since", "[F107]") {
    const Memory memory;
    LedgerWriter worker{memory.pages.get()};
    for (std::uint64_t number = 1; number <= 3 * LedgerPages::noted; ++number) {
        REQUIRE(worker.begin(number));
    }
    const auto begun = close(memory.parent, true);
    CHECK(begun.contains(3 * LedgerPages::noted));
    CHECK(begun.contains(2 * LedgerPages::noted + 1));
    CHECK(begun.contains(1));  // its handler may still run beside the others
    CHECK_FALSE(begun.contains(3 * LedgerPages::noted + 1));
}

TEST_CASE("no request is both unknown to the parent and begun", "[F107]") {
    for (int round = 0; round < 300; ++round) {
        const Memory memory;
        LedgerWriter worker{memory.pages.get()};
        std::atomic<bool> ready{false};
        std::uint64_t last = 0;
        std::thread serving{[&] {
            ready = true;
            std::uint64_t number = 1;
            while (number < 1000 && worker.begin(number)) last = number++;
        }};
        while (!ready) std::this_thread::yield();
        const auto begun = close(memory.parent, true);
        serving.join();
        REQUIRE((last == 0 || begun.contains(last)));
    }
}

TEST_CASE("answers that are held back are kept until others have left", "[F107]") {
    const Memory memory;
    LedgerWriter worker{memory.pages.get()};
    const auto size = answer(1).wire_size();
    CHECK(worker.hold(answer(1), true));
    CHECK(worker.hold(answer(2), false));
    CHECK(memory.parent.held() == answer(1).rest_of_frame() + answer(2).rest_of_frame());
    CHECK(worker.hold(answer(3), true));
    CHECK(memory.parent.held().size() == size);
    std::size_t held = 1;
    while (worker.hold(answer(4), false)) ++held;
    CHECK(held == LedgerPages::held_room / size);
}

TEST_CASE("a worker says that nothing which it started is left", "[F102]") {
    const Memory memory;
    CHECK_FALSE(memory.parent.tidy());
    LedgerWriter{memory.pages.get()}.set_tidy();
    CHECK(memory.parent.tidy());
    LedgerWriter{}.set_tidy();
    CHECK_FALSE(Ledger{}.tidy());
}

TEST_CASE("nothing that a worker writes leads the parent out of the ledger", "[F107]") {
    const Memory memory;
    memory.pages->used = 1;
    memory.pages->held_size = ~std::uint32_t{0};
    memory.pages->begun.fill(~std::uint64_t{0});
    CHECK(memory.parent.held().size() == LedgerPages::held_room);
    CHECK_FALSE(close(memory.parent, true).contains(1));
}

}  // namespace ledger_test
