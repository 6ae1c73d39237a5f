#include <tether/detail/base/spin.hpp>

#include <chrono>

#include "support/catch.hpp"

namespace spin_test {

using namespace std::chrono_literals;
using tether::detail::Spin;

TEST_CASE("without a time nothing is looked for") {
    Spin spin;
    CHECK_FALSE(spin([]() -> bool { throw "looked"; }));
}

TEST_CASE("looking ends when something is found") {
    Spin spin{1h};
    int looks = 0;
    CHECK(spin([&] { return ++looks == 3; }));
    CHECK(looks == 3);
}

TEST_CASE("looking in vain becomes rare, until something is found again") {
    Spin spin{1ms};
    int tries = 0;
    bool there = false;
    const auto waits = [&](int count) {
        const int before = tries;
        for (int i = 0; i < count; ++i) {
            bool tried = false;
            spin([&] {
                tried = true;
                return there;
            });
            tries += tried ? 1 : 0;
        }
        return tries - before;
    };
    CHECK(waits(100'000) < 60);
    CHECK(waits(100'000) < 30);  // one in 4095
    there = true;
    CHECK(waits(4'095) >= 1);
    CHECK(waits(1'000) == 1'000);
}

}  // namespace spin_test
