#include <tether/detail/background/turn.hpp>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "support/catch.hpp"

namespace turn_test {
namespace {

using tether::detail::Deferred;
using tether::detail::Turn;

class Step final : public Deferred {
public:
    explicit Step(std::function<void()> act) : act_(std::move(act)) {}
    void run(std::shared_ptr<Deferred> self) override {
        const auto act = std::move(act_);
        self.reset();  // as a call does, before its handler runs
        act();
    }

private:
    std::function<void()> act_;
};

std::shared_ptr<Deferred> step(std::function<void()> act) {
    return std::make_shared<Step>(std::move(act));
}

bool after_act(Turn& turn, std::function<void()> act) {
    auto what = step(std::move(act));
    const bool taken = turn.after_act(what);
    CHECK((what == nullptr) == taken);
    return taken;
}

}  // namespace

TEST_CASE("a turn runs handlers after the event, and what ends it after them") {
    Turn turn;
    std::string order;
    turn([&] {
        CHECK(turn.at_end(step([&] { order += "end "; })));
        CHECK(after_act(turn, [&] { order += "first "; }));
        CHECK(after_act(turn, [&] { order += "second "; }));
        order += "event ";
    });
    CHECK(order == "event first second end ");
    turn([] {});
    CHECK(order == "event first second end ");
}

TEST_CASE("what handlers settle waits for another turn, what they send does not") {
    Turn turn;
    std::string order;
    turn([&] {
        after_act(turn, [&] {
            CHECK_FALSE(after_act(turn, [&] { order += "never "; }));
            CHECK(turn.at_end(step([&] {
                order += "end ";
                CHECK_FALSE(turn.at_end(step([&] { order += "never "; })));
            })));
        });
    });
    CHECK(order == "end ");
}

TEST_CASE("nothing is deferred outside of a turn") {
    Turn turn;
    CHECK_FALSE(after_act(turn, [] {}));
    CHECK_FALSE(turn.at_end(step([] {})));
}

TEST_CASE("a turn within a turn belongs to it") {
    Turn turn;
    std::string order;
    turn([&] {
        after_act(turn, [&] {
            turn([&] { CHECK_FALSE(after_act(turn, [&] { order += "never "; })); });
            order += "handler ";
        });
        turn([&] { after_act(turn, [&] { order += "inner "; }); });
        order += "event ";
    });
    CHECK(order == "event handler inner ");
}

TEST_CASE("a turn keeps nothing of what it has run") {
    Turn turn;
    auto kept = std::make_shared<int>(1);
    turn([&] { after_act(turn, [kept] { static_cast<void>(kept); }); });
    CHECK(kept.use_count() == 1);
}

}  // namespace turn_test
