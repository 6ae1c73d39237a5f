#include <tether/pool_statistics.hpp>

#include <chrono>

#include "support/catch.hpp"

namespace pool_statistics_test {

using namespace std::chrono_literals;

TEST_CASE("a histogram knows quantiles to one part in eight, and the longest exactly") {
    tether::Histogram times;
    CHECK(times.quantile(0.5) == 0ns);
    CHECK(times.max() == 0ns);
    for (int i = 1; i <= 1000; ++i) times.add(std::chrono::microseconds{i});
    CHECK(times.count() == 1000);
    CHECK(times.max() == 1000us);
    for (const double part : {0.01, 0.5, 0.9, 0.99}) {
        const auto exact = std::chrono::nanoseconds{static_cast<std::int64_t>(part * 1e6)};
        CHECK(times.quantile(part) >= exact);
        CHECK(times.quantile(part) <= exact * 9 / 8 + 1us);
    }
    CHECK(times.quantile(1) == 1000us);
}

TEST_CASE("histograms take any time, and can be merged") {
    tether::Histogram times;
    for (const tether::Duration time : {tether::Duration{-5s}, tether::Duration{0ns},
                                        tether::Duration{7ns}, tether::no_timeout}) {
        times.add(time);
    }
    CHECK(times.max() == tether::no_timeout);
    CHECK(times.quantile(0.75) == 7ns);
    tether::Histogram both;
    both.merge(times);
    both.merge(times);
    CHECK(both.count() == 8);
    CHECK(both.quantile(0.5) == 0ns);
    CHECK(both.max() == tether::no_timeout);
}

TEST_CASE("statistics are a few lines for people") {
    tether::PoolStatistics statistics;
    statistics.workers = {{.pid = 7, .running = 2}, {.resting = true}};
    statistics.started = 3;
    statistics.served = 10;
    statistics.recycled_used_up = 1;
    statistics.run.add(1500us);
    CHECK(to_string(statistics) ==
          "workers: 1 of 2 up, 3 started, 1 cannot be started, 1 recycled (used up 1, restart 0)\n"
          "calls: 10 served, 0 failed, 0 moved, 2 running, 0 waiting\n"
          "queue ms: p50 0.000, p90 0.000, p99 0.000, max 0.000\n"
          "run ms: p50 1.500, p90 1.500, p99 1.500, max 1.500\n");
}

}  // namespace pool_statistics_test
