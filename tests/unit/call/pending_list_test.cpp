#include <tether/detail/call/executor_hold.hpp>
#include <tether/detail/call/pending_list.hpp>

#include <asio/io_context.hpp>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace pending_list_test {

namespace {

using namespace tether::detail;

struct Entry final : Droppable {
    explicit Entry(int& count) : drops(count) {}
    void drop() noexcept override { ++drops; }
    int& drops;
};

}  // namespace

TEST_CASE("what is pending is dropped with its context") {
    int drops = 0;
    const auto pending = std::make_shared<Entry>(drops);
    const auto removed = std::make_shared<Entry>(drops);
    auto gone = std::make_shared<Entry>(drops);
    std::shared_ptr<PendingList> list;
    {
        asio::io_context context;
        list = PendingList::of(context);
        CHECK(list == PendingList::of(context));
        CHECK(list->add(pending));
        CHECK(list->add(removed));
        CHECK(list->add(gone));
        list->remove(removed.get());
        gone.reset();
        CHECK(drops == 0);
    }
    CHECK(drops == 1);
    // The list may outlive its context, and takes nothing more.
    CHECK_FALSE(list->add(pending));
    list->remove(pending.get());
    list->close();
    CHECK(drops == 1);
}

TEST_CASE("what lies where something forgotten lay is dropped, too") {
    int drops = 0;
    Entry entry{drops};
    const auto at_that_place = [&] {
        return std::shared_ptr<Droppable>{&entry, [](Droppable*) {}};
    };
    PendingList list;
    CHECK(list.add(at_that_place()));  // gone, and not taken off the list
    const auto pending = at_that_place();
    CHECK(list.add(pending));
    list.close();
    CHECK(drops == 1);
}

TEST_CASE("each context has a list of its own") {
    int drops = 0;
    const auto entry = std::make_shared<Entry>(drops);
    asio::io_context other;
    {
        asio::io_context context;
        CHECK(PendingList::of(context) != PendingList::of(other));
        PendingList::of(other)->add(entry);
    }
    CHECK(drops == 0);
    PendingList::of(other)->remove(entry.get());
}

TEST_CASE("dropping may remove itself and others") {
    struct Remover final : Droppable {
        std::shared_ptr<PendingList> list{};
        Droppable* other = nullptr;
        int drops = 0;
        void drop() noexcept override {
            ++drops;
            list->remove(this);
            list->remove(other);
        }
    };
    const auto list = std::make_shared<PendingList>();
    const auto first = std::make_shared<Remover>();
    const auto second = std::make_shared<Remover>();
    first->list = second->list = list;
    first->other = second.get();
    second->other = first.get();
    list->add(first);
    list->add(second);
    list->close();
    CHECK(first->drops + second->drops >= 1);
    CHECK(first->drops <= 1);
    CHECK(second->drops <= 1);
}

TEST_CASE("calls come and go while the context ends") {
    for (int round = 0; round < 50; ++round) {
        const auto list = std::make_shared<PendingList>();
        std::atomic<bool> refused{false};
        std::thread caller{[&] {
            int drops = 0;
            std::vector<std::shared_ptr<Entry>> entries;
            for (;;) {
                entries.push_back(std::make_shared<Entry>(drops));
                if (!list->add(entries.back())) break;
                if (entries.size() % 2 == 0) list->remove(entries[entries.size() / 2].get());
            }
            refused = true;
            // close() may still be dropping: the entries live until it has returned.
            list->close();
        }};
        std::this_thread::yield();
        list->close();
        caller.join();
        CHECK(refused);
    }
}

TEST_CASE("a hold keeps run() going until it is released") {
    asio::io_context context;
    const auto hold = ExecutorHold::make(context.get_executor());
    context.run();
    CHECK(context.stopped());  // an idle worker holds nobody up
    context.restart();
    hold->take();
    hold->take();
    context.poll();
    CHECK_FALSE(context.stopped());
    hold->release();  // not counted
    context.run();
    CHECK(context.stopped());
    hold->release();
}

TEST_CASE("a hold may outlive its context") {
    std::shared_ptr<ExecutorHold> taken;
    std::shared_ptr<ExecutorHold> free;
    {
        asio::io_context context;
        taken = ExecutorHold::make(context.get_executor());
        free = ExecutorHold::make(context.get_executor());
        taken->take();
    }
    taken->release();
    taken->take();
    free->take();
    free->release();
    SUCCEED("nothing touched the context that is gone");
}

}  // namespace pending_list_test
