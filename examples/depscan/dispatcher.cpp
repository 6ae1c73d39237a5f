#include "dispatcher.hpp"

#include <stdexcept>
#include <utility>

#include <signal.h>
#include <sys/types.h>

namespace depscan {
namespace {

using namespace std::chrono_literals;

/// The second batch is already there when a worker has answered the first.
constexpr std::size_t batches_per_worker = 2;

/// Kills by chaos are no fault of the batch, and come on top.
constexpr std::size_t attempts_per_batch = 3;

/// As the out-of-memory killer would do it, not by `Worker::kill`, which Tether knows of
/// beforehand.
bool kill_from_outside(std::int64_t pid) {
    return pid > 0 && ::kill(static_cast<pid_t>(pid), SIGKILL) == 0;
}

/// The attempts of a batch are the limit here, not how often a worker may crash.
tether::WorkerOptions worker_options(std::size_t number) {
    return {.name = "depscan-" + std::to_string(number),
            .restart = {.budget = 1000, .initial_pause = 10ms, .max_pause = 100ms}};
}

/// Errors that the next call to the same worker would meet again. A worker may also be killed
/// before it serves.
bool is_permanent(const tether::CallError& error) {
    if (error.report() != nullptr && error.report()->status.signal()) return false;
    switch (error.cause()) {
        case tether::errc::start_failed:
        case tether::errc::start_timeout:
        case tether::errc::protocol_mismatch:
        case tether::errc::hook_missing:
        case tether::errc::restart_budget_spent:
            return true;
        default:
            return false;
    }
}

}  // namespace

Dispatcher::Dispatcher(const SourceSet& sources, std::size_t workers,
                       std::optional<std::uint32_t> chaos_seed, Progress& progress)
    : search_paths_{sources.search_paths()}, progress_{progress}, chaos_{chaos_seed, workers} {
    for (const auto& source : sources.sources()) queue_.add(source.file, source.search_path);
    statistics_.workers = workers;
    members_.reserve(workers);
    for (std::size_t number = 1; number <= workers; ++number) {
        members_.push_back({.worker = tether::Worker<ScanProtocol>{io_, worker_options(number)}});
    }
}

void Dispatcher::run() {
    const auto start = std::chrono::steady_clock::now();
    hand_out();
    io_.run();  // returns when no call is pending, although the workers are still there
    if (!queue_.all_finished()) throw std::runtime_error{"no worker is left: " + last_error_};
    statistics_.seconds =
        std::chrono::duration<double>{std::chrono::steady_clock::now() - start}.count();
}

void Dispatcher::hand_out() {
    for (std::size_t limit = 1; limit <= batches_per_worker; ++limit) {
        for (auto& member : members_) {
            if (auto batch = next_batch(member, limit)) send(member, *std::move(batch));
        }
    }
}

std::optional<Batch> Dispatcher::next_batch(Member& member, std::size_t limit) {
    if (member.retired || member.has_suspect) return std::nullopt;
    if (queue_.has_suspects()) {
        // A worker that is busy gets nothing more, and is free for a suspect soon.
        if (member.batches_in_flight > 0) return std::nullopt;
        member.has_suspect = true;
        return queue_.take_suspect();
    }
    if (member.batches_in_flight >= limit) return std::nullopt;
    return queue_.take(members_.size());
}

void Dispatcher::send(Member& member, Batch batch) {
    ScanFiles request{.search_path = search_paths_[batch.search_path], .files = batch.files};
    ++member.batches_in_flight;
    ++statistics_.batches;
    member.worker.async_call(
        std::move(request), [this, &member, batch = std::move(batch)](std::exception_ptr error,
                                                                      ScannedFiles answer) mutable {
            settle(member, std::move(batch), error, answer);
        });
}

void Dispatcher::settle(Member& member, Batch batch, const std::exception_ptr& failure,
                        const ScannedFiles& answer) {
    --member.batches_in_flight;
    member.has_suspect = false;
    if (const auto* error = tether::error_of(failure)) {
        recover(member, std::move(batch), *error);
    } else {
        merge(batch, answer);
    }
    hand_out();
    wreak_havoc();
    progress_.update(queue_.finished(), queue_.known());
}

void Dispatcher::merge(const Batch& batch, const ScannedFiles& answer) {
    for (const auto& scanned : answer.files) {
        graph_.merge(scanned);
        for (const auto& header : scanned.includes) queue_.add(header, batch.search_path);
    }
    statistics_.cache += answer.cache;
    queue_.finish(batch);
}

void Dispatcher::recover(Member& member, Batch batch, const tether::CallError& error) {
    last_error_ = error.what();
    if (is_permanent(error)) {
        member.retired = true;
    } else {
        ++batch.failed_attempts;
    }
    // The next call would wait behind a handler that has overrun its time.
    if (error.cause() == tether::errc::timeout) member.worker.kill();
    if (batch.failed_attempts >= attempts_per_batch + statistics_.killed_workers) {
        return give_up(batch, error.code());
    }
    ++statistics_.retried_batches;
    queue_.put_back(std::move(batch));
}

void Dispatcher::give_up(const Batch& batch, std::error_code reason) {
    for (const auto& file : batch.files) {
        graph_.merge({.file = file, .failure = reason.message()});
    }
    queue_.finish(batch);
}

void Dispatcher::wreak_havoc() {
    if (queue_.all_finished()) return;
    const auto victim = chaos_.victim();
    if (victim && kill_from_outside(members_[*victim].worker.pid())) ++statistics_.killed_workers;
}

}  // namespace depscan
