// Which thread reads, decided without threads: single rules, then every state that three callers,
// two async calls and the reactor can reach.
#include <tether/detail/parent/reader_role.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace reader_role_test {

using tether::detail::BlockedCaller;
using tether::detail::ReaderRole;
using Action = ReaderRole::Action;
using Do = ReaderRole::Do;
using State = ReaderRole::State;

TEST_CASE("the background thread reads only while no caller does") {
    ReaderRole role;
    BlockedCaller caller;
    CHECK(role.add_async() == Action{Do::arm});
    CHECK(role.add_async() == Action{});
    CHECK(role.seek(caller) == Action{Do::disarm});
    CHECK(role.leads(caller));
    CHECK(role.add_async() == Action{});
    CHECK(role.leave(caller) == Action{Do::arm});
    CHECK(role.state() == State::armed);

    REQUIRE(role.begin_background());
    SECTION("and goes on while calls are pending") {
        CHECK(role.add_async() == Action{});
        CHECK(role.end_background(false) == Action{Do::arm});
    }
    SECTION("or something is left to be read") {
        for (int i = 0; i < 3; ++i) role.remove_async();
        CHECK(role.end_background(true) == Action{Do::arm});
    }
    SECTION("but not without a reason") {
        for (int i = 0; i < 3; ++i) role.remove_async();
        CHECK(role.end_background(false) == Action{});
        CHECK(role.state() == State::none);
    }
    SECTION("nor after a caller has come meanwhile") {
        CHECK(role.seek(caller) == Action{Do::disarm});
        CHECK(role.end_background(true) == Action{});
        CHECK(role.leads(caller));
    }
    SECTION("nor once the input is closed") {
        CHECK(role.close_input() == Action{});
        CHECK(role.end_background(true) == Action{});
    }
}

TEST_CASE("an event of a reactor that was disarmed is ignored") {
    ReaderRole role;
    BlockedCaller caller;
    CHECK(role.add_async() == Action{Do::arm});
    CHECK(role.seek(caller) == Action{Do::disarm});
    CHECK_FALSE(role.begin_background());
    CHECK(role.leads(caller));
}

TEST_CASE("the role goes to the first follower that still waits") {
    ReaderRole role;
    std::array<BlockedCaller, 4> callers;
    for (auto& caller : callers) CHECK(role.seek(caller) == Action{});
    CHECK(role.leads(callers[0]));
    CHECK(role.settle(callers[1]) == Action{});
    CHECK(role.leave(callers[0]) == Action{Do::promote, &callers[2]});
    CHECK(role.promoted(callers[2]));
    CHECK_FALSE(role.promoted(callers[3]));

    SECTION("which keeps its place when a caller that runs already is faster") {
        CHECK(role.seek(callers[0]) == Action{});
        CHECK(role.leads(callers[0]));
        CHECK_FALSE(role.promoted(callers[2]));
        CHECK(role.leave(callers[0]) == Action{Do::promote, &callers[2]});
    }
    SECTION("and passes it on when it leaves instead") {
        CHECK(role.leave(callers[1]) == Action{});
        CHECK(role.leave(callers[2]) == Action{Do::promote, &callers[3]});
        CHECK(role.leave(callers[3]) == Action{});
        CHECK(role.state() == State::none);
    }
    SECTION("and passes it on also when its answer came first") {
        CHECK(role.settle(callers[2]) == Action{});
        CHECK(role.leave(callers[2]) == Action{Do::promote, &callers[3]});
    }
}

TEST_CASE("a leader that polls is woken once, and any other looks up by itself") {
    ReaderRole role;
    BlockedCaller leader;
    BlockedCaller follower;
    CHECK(role.seek(leader) == Action{});
    CHECK(role.settle(leader) == Action{});
    role.block_bounded();
    CHECK(role.cancel(leader) == Action{});
    CHECK_FALSE(role.look_up());
    role.poll();
    CHECK(role.seek(follower) == Action{});
    CHECK(role.cancel(follower) == Action{});
    CHECK(role.settle(follower) == Action{});
    CHECK(role.cancel(leader) == Action{Do::wake});
    CHECK(role.close_input() == Action{});
    CHECK(role.look_up());
    role.poll();
    CHECK_FALSE(role.look_up());
}

TEST_CASE("room in the socket is watched for by the leader, or else by the reactor") {
    ReaderRole role;
    BlockedCaller leader;
    CHECK(role.want_room(false) == Action{});  // that thread leads next
    CHECK(role.want_room(true) == Action{Do::arm_room});
    CHECK(role.want_room(true) == Action{});
    role.found_room();
    CHECK(role.want_room(true) == Action{Do::arm_room});
    CHECK(role.seek(leader) == Action{Do::disarm});
    CHECK(role.want_room(true) == Action{});  // it looks before it polls
    role.poll();
    CHECK(role.want_room(false) == Action{Do::wake});
    CHECK(role.look_up());
    role.block_bounded();
    CHECK(role.want_room(false) == Action{Do::arm_room});
    CHECK_FALSE(role.look_up());
    CHECK(role.seek(leader) == Action{Do::disarm});
}

// --- All states

constexpr std::size_t callers_count = 3;
constexpr int most_async = 2;

/// What a caller's thread does.
enum class Place : std::uint8_t { away, awake, following, looking, polling, bounded };

/// The threads and the reactor around the role, as far as its actions tell.
struct Around {
    std::array<Place, callers_count> places{};
    std::array<bool, callers_count> settled{};  // it will leave as soon as it is awake
    std::vector<std::size_t> line{};            // of followers
    std::optional<std::size_t> notified{};      // it was promoted
    int async = 0;
    bool open = true;
    bool armed = false;
    bool room_armed = false;
    bool registered = false;
    bool in_background = false;  // between begin_background() and end_background()
    bool pipe_written = false;
    State state = State::none;
    friend auto operator<=>(const Around&, const Around&) = default;
};

enum class What : std::uint8_t {
    add_async,
    remove_async,
    arrive,
    seek,
    poll,
    block_bounded,
    look_up,
    wake_follower,
    settle,
    cancel,
    leave,
    report_input,
    end_background,
    end_background_early,
    close_input,
    want_room,
    want_room_and_lead,
    find_room,
};
constexpr int events_count = static_cast<int>(What::find_room) + 1;

struct Event {
    What what{};
    std::size_t caller = 0;
};

bool is_about_a_caller(What what) { return what >= What::arrive && what <= What::leave; }

class World {
public:
    [[nodiscard]] const Around& around() const noexcept { return around_; }

    /// Whether threads and the reactor could do this now.
    [[nodiscard]] bool can(Event event) const {
        const auto place = around_.places[event.caller];
        const bool settled = around_.settled[event.caller];
        switch (event.what) {
            case What::add_async:
                return around_.async < most_async;
            case What::remove_async:
                return around_.async > 0;
            case What::arrive:
                return place == Place::away;
            case What::seek:
                return (place == Place::awake || place == Place::looking) && !settled;
            case What::poll:
            case What::block_bounded:
                return place == Place::looking && !settled;
            case What::look_up:
                return place == Place::polling || place == Place::bounded;
            case What::wake_follower:
                return place == Place::following;
            case What::settle:
                return place != Place::away && !settled;
            case What::cancel:
                return place != Place::away;
            case What::leave:  // also when its thread is cancelled while it blocks
                return place != Place::away;
            case What::report_input:  // late events included
                return !around_.in_background;
            case What::end_background:
            case What::end_background_early:
                return around_.in_background;
            case What::close_input:
                return around_.open;
            case What::want_room:
            case What::want_room_and_lead:
                return true;
            case What::find_room:
                return around_.room_armed;
        }
        return false;
    }

    void act(Event event) {
        auto& place = around_.places[event.caller];
        auto& caller = callers_[event.caller];
        switch (event.what) {
            case What::add_async:
                ++around_.async;
                carry_out(role_.add_async());
                break;
            case What::remove_async:
                --around_.async;
                role_.remove_async();
                break;
            case What::arrive:
                place = Place::awake;
                break;
            case What::seek:
                carry_out(role_.seek(caller));
                if (!role_.leads(caller)) {
                    place = Place::following;
                    join_line(event.caller);
                } else {
                    place = Place::looking;
                    std::erase(around_.line, event.caller);
                    around_.notified.reset();
                }
                break;
            case What::poll:
                role_.poll();
                place = Place::polling;
                break;
            case What::block_bounded:
                role_.block_bounded();
                place = Place::bounded;
                break;
            case What::look_up:
                drained_what_was_written_ = role_.look_up() == around_.pipe_written;
                around_.pipe_written = false;
                place = Place::looking;
                break;
            case What::wake_follower:
                place = Place::awake;
                break;
            case What::settle:
                around_.settled[event.caller] = true;
                std::erase(around_.line, event.caller);
                carry_out(role_.settle(caller));
                break;
            case What::cancel:
                cancelled_poll_ = place == Place::polling;
                carry_out(role_.cancel(caller));
                break;
            case What::leave:
                if (place == Place::polling) around_.pipe_written = false;
                place = Place::away;
                around_.settled[event.caller] = false;
                std::erase(around_.line, event.caller);
                if (around_.notified == event.caller) around_.notified.reset();
                carry_out(role_.leave(caller));
                break;
            case What::report_input: {
                const bool was_armed = std::exchange(around_.armed, false);
                around_.in_background = role_.begin_background();
                reported_in_vain_ = was_armed && !around_.in_background;
                break;
            }
            case What::end_background:
            case What::end_background_early:
                around_.in_background = false;
                carry_out(role_.end_background(event.what == What::end_background_early));
                break;
            case What::close_input:
                around_.open = false;
                carry_out(role_.close_input());
                break;
            case What::want_room:
            case What::want_room_and_lead:
                carry_out(role_.want_room(event.what == What::want_room));
                room_is_seen_to_ = sees_to_room() || (event.what == What::want_room_and_lead &&
                                                      role_.state() != State::bounded);
                break;
            case What::find_room:
                around_.room_armed = false;
                role_.found_room();
                break;
        }
        around_.state = role_.state();
    }

    /// What is wrong; empty: nothing.
    [[nodiscard]] std::string problem() const {
        if (!role_.check()) return "the role's own invariant";
        if (!problem_.empty()) return problem_;
        const auto is_in = [this](Place place) {
            return std::count(around_.places.begin(), around_.places.end(), place);
        };
        const auto leaders = is_in(Place::looking) + is_in(Place::polling) + is_in(Place::bounded);
        const bool promoted = around_.notified.has_value();
        const bool reads_in_background = around_.in_background && role_.state() == State::reading;
        const auto readers = leaders + promoted + around_.armed + reads_in_background;
        if (readers > 1) return "more than one reader";
        const bool wanted = around_.async > 0 || !around_.line.empty();
        if (wanted && around_.open && readers == 0) return "calls are pending, and no thread reads";
        if (!around_.line.empty() && leaders + promoted == 0) return "followers without a leader";
        if (around_.armed != (role_.state() == State::armed)) return "the reactor is not as said";
        if (around_.pipe_written != (role_.state() == State::woken)) return "a wake-up is lost";
        if ((around_.armed || around_.room_armed) && !around_.registered) return "not registered";
        for (std::size_t i = 0; i < callers_count; ++i) {
            if (role_.promoted(callers_[i]) != (around_.notified == i)) return "not notified";
            if (around_.places[i] != Place::polling || around_.pipe_written) continue;
            if (around_.settled[i] || cancelled_poll_) return "a settled leader polls on";
        }
        if (!drained_what_was_written_) return "the pipe is not as said";
        if (reported_in_vain_) return "input was reported, and nothing reads it";
        if (!room_is_seen_to_) return "no thread watches for room";
        return {};
    }

private:
    void join_line(std::size_t caller) {
        if (std::find(around_.line.begin(), around_.line.end(), caller) == around_.line.end()) {
            around_.line.push_back(caller);
        }
    }

    [[nodiscard]] bool sees_to_room() const {
        const bool leader_looks = role_.state() == State::looking || role_.state() == State::woken;
        return leader_looks || around_.room_armed;
    }

    void carry_out(Action action) {
        switch (action.what) {
            case Do::nothing:
                break;
            case Do::arm:
                if (std::exchange(around_.armed, true)) problem_ = "armed twice";
                around_.registered = true;
                break;
            case Do::arm_room:
                if (std::exchange(around_.room_armed, true)) problem_ = "armed for room twice";
                around_.registered = true;
                break;
            case Do::disarm:
                if (!around_.registered) problem_ = "disarmed, but not registered";
                around_.armed = around_.room_armed = around_.registered = false;
                break;
            case Do::wake:
                if (std::exchange(around_.pipe_written, true)) problem_ = "woken twice";
                break;
            case Do::promote:
                promote(static_cast<std::size_t>(action.caller - callers_.data()));
                break;
        }
    }

    void promote(std::size_t caller) {
        if (around_.line.empty() || around_.line.front() != caller) problem_ = "out of turn";
        if (around_.notified) problem_ = "promoted two";
        around_.notified = caller;
    }

    ReaderRole role_;
    std::array<BlockedCaller, callers_count> callers_;
    Around around_;
    std::string problem_;
    bool drained_what_was_written_ = true;
    bool reported_in_vain_ = false;
    bool room_is_seen_to_ = true;
    bool cancelled_poll_ = false;
};

/// The events that lead to a state, from the beginning.
using Path = std::vector<Event>;

void replay(World& world, const Path& path) {
    for (const auto event : path) world.act(event);
}

std::string describe(const Path& path) {
    std::string text;
    for (const auto event : path) {
        text +=
            std::to_string(static_cast<int>(event.what)) + '.' + std::to_string(event.caller) + ' ';
    }
    return text;
}

TEST_CASE("whatever happens, calls that are pending have exactly one reader") {
    std::map<Around, bool> known;
    std::deque<Path> left{{}};
    known[Around{}] = true;
    std::array<bool, static_cast<std::size_t>(State::reading) + 1> seen{};
    while (!left.empty()) {
        const auto path = std::move(left.front());
        left.pop_front();
        World here;
        replay(here, path);
        seen[static_cast<std::size_t>(here.around().state)] = true;
        for (int what = 0; what < events_count; ++what) {
            const bool each = is_about_a_caller(static_cast<What>(what));
            for (std::size_t caller = 0; caller < (each ? callers_count : 1); ++caller) {
                const Event event{static_cast<What>(what), caller};
                if (!here.can(event)) continue;
                World next;
                replay(next, path);
                next.act(event);
                auto longer = path;
                longer.push_back(event);
                if (const auto problem = next.problem(); !problem.empty()) {
                    INFO(describe(longer));
                    FAIL(problem);
                }
                if (known.emplace(next.around(), true).second) left.push_back(std::move(longer));
            }
        }
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](bool reached) { return reached; }));
    CHECK(known.size() > 10'000);
}

}  // namespace reader_role_test
