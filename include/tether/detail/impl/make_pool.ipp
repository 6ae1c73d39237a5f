#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/executor.hpp>
#include <tether/detail/base/options_check.hpp>
#include <tether/detail/base/pool_options_check.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/end_wait.hpp>
#include <tether/detail/loopback/make_loopback.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/parent/launch.hpp>
#include <tether/detail/parent/make_supervisor.hpp>
#include <tether/detail/pool/make_pool.hpp>
#include <tether/detail/pool/pool.hpp>
#include <tether/exit_status.hpp>
#include <tether/pool_options.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class ProcessMembers final : public PoolMembers {
public:
    ProcessMembers(WorkerOptions options, std::string_view protocol, std::uint32_t version,
                   std::uint64_t fingerprint, bool is_live)
        : options_(std::move(options)),
          protocol_(protocol),
          version_(version),
          fingerprint_(fingerprint),
          is_live_(is_live) {}

    Carrier make(const std::shared_ptr<Hub>& hub) override {
        return make_supervisor(options_, protocol_, version_, fingerprint_, is_live_, hub);
    }
    void retire(Carrier carrier) noexcept override {
        const auto process = std::static_pointer_cast<ProcessCarrier>(std::move(carrier));
        try {
            {
                const std::scoped_lock lock{retired_->mutex};
                retired_->processes.push_back(process);
            }
            initiate_end_wait<std::optional<ExitStatus>>(
                process, background_executor(),
                [process, retired = retired_](const std::exception_ptr&,
                                              const std::optional<ExitStatus>&) {
                    {
                        const std::scoped_lock lock{retired->mutex};
                        std::erase(retired->processes, process);
                    }
                    release_supervisor(process, nullptr);
                });
        } catch (...) {  // no memory: it ends with the pool
        }
    }
    void stop(const std::vector<Carrier>& carriers) override {
        std::vector<std::shared_ptr<ProcessCarrier>> processes;
        {
            const std::scoped_lock lock{retired_->mutex};
            processes = retired_->processes;
        }
        for (const auto& carrier : carriers) {
            processes.push_back(std::static_pointer_cast<ProcessCarrier>(carrier));
        }
        stop_supervisors(processes);
    }
    void release(Carrier carrier) noexcept override {
        release_supervisor(std::static_pointer_cast<ProcessCarrier>(std::move(carrier)), nullptr);
    }

private:
    // Those that are about to end.
    struct Retired {
        std::mutex mutex{};
        std::vector<std::shared_ptr<ProcessCarrier>> processes{};
    };

    const std::shared_ptr<Retired> retired_ = std::make_shared<Retired>();
    const WorkerOptions options_;
    const std::string protocol_;
    const std::uint32_t version_;
    const std::uint64_t fingerprint_;
    const bool is_live_;
};

class LoopbackMembers final : public PoolMembers {
public:
    LoopbackMembers(WorkerOptions options, MakeHandler make)
        : options_(std::move(options)), make_(std::move(make)) {}

    Carrier make(const std::shared_ptr<Hub>& hub) override {
        return make_loopback(options_, make_, hub);
    }
    // On a thread of its own: it waits for a handler that goes on although its call is over.
    void retire(Carrier carrier) noexcept override {
        try {
            const std::scoped_lock lock{mutex_};
            std::erase_if(ending_, [](const auto& end) {
                return end.wait_for(std::chrono::seconds{0}) == std::future_status::ready;
            });
            ending_.push_back(
                std::async(std::launch::async, [carrier] { release_loopback(carrier, nullptr); }));
        } catch (...) {  // no thread, or no memory
            release_loopback(std::move(carrier), nullptr);
        }
    }
    void stop(const std::vector<Carrier>& carriers) override {
        std::vector<std::future<void>> ending;
        {
            const std::scoped_lock lock{mutex_};
            ending.swap(ending_);
        }
        for (const auto& carrier : carriers) {
            ending.push_back(std::async(std::launch::async, [carrier] { carrier->stop(); }));
        }
        for (auto& end : ending) end.wait();
    }
    void release(Carrier carrier) noexcept override {
        release_loopback(std::move(carrier), nullptr);
    }

private:
    std::mutex mutex_;
    std::vector<std::future<void>> ending_;
    const WorkerOptions options_;
    const MakeHandler make_;
};

inline std::shared_ptr<PoolCarrier> make_pool_of(PoolOptions options, std::string name,
                                                 std::unique_ptr<PoolMembers> members) {
    const auto size = options.size ? *options.size : usable_cores();
    return std::make_shared<Pool>(std::move(options), size, std::move(name), std::move(members));
}

TETHER_DECL std::shared_ptr<PoolCarrier> make_pool(PoolOptions options, std::string_view protocol,
                                                   std::uint32_t version, std::uint64_t fingerprint,
                                                   bool is_live) {
    check_options(options);
    auto name = worker_name(options.worker);
    auto members =
        std::make_unique<ProcessMembers>(options.worker, protocol, version, fingerprint, is_live);
    return make_pool_of(std::move(options), std::move(name), std::move(members));
}

TETHER_DECL std::shared_ptr<PoolCarrier> make_loopback_pool(PoolOptions options, MakeHandler make) {
    check_options(options);
    auto name = options.worker.name.empty() ? "loopback" : options.worker.name;
    auto members = std::make_unique<LoopbackMembers>(options.worker, std::move(make));
    return make_pool_of(std::move(options), std::move(name), std::move(members));
}

TETHER_DECL void release_pool(std::shared_ptr<PoolCarrier> carrier,
                              std::shared_ptr<void> hold) noexcept {
    auto& pool = static_cast<Pool&>(*carrier);
    if (!pool.forked() && !is_interrupted() && pool.retire()) return;
    // Locks may be held by threads that do not exist here, or do not run.
    struct Kept {
        std::shared_ptr<void> hold;
        std::shared_ptr<PoolCarrier> carrier;
    };
    static_cast<void>(new Kept{std::move(hold), std::move(carrier)});
}

}  // namespace detail
TETHER_NAMESPACE_END
