#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>

namespace depscan {

/// Decides when which worker is killed: after a few answers each time, each worker in turn and
/// twice at most. The seed decides how many answers, and who comes first.
class Chaos {
public:
    Chaos(std::optional<std::uint32_t> seed, std::size_t workers)
        : random_{seed.value_or(0)}, workers_{workers}, kills_left_{seed ? 2 * workers : 0} {
        next_victim_ = random_() % workers;
    }

    /// To be asked after each answer.
    std::optional<std::size_t> victim() {
        if (kills_left_ == 0 || --answers_left_ > 0) return std::nullopt;
        --kills_left_;
        answers_left_ = draw_pause();
        return next_victim_++ % workers_;
    }

private:
    std::size_t draw_pause() { return 1 + random_() % 6; }

    std::minstd_rand random_;
    std::size_t workers_;
    std::size_t kills_left_;
    std::size_t next_victim_ = 0;
    std::size_t answers_left_ = draw_pause();
};

}  // namespace depscan
