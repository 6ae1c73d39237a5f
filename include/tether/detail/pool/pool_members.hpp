// Why: a pool does not care what its workers are: processes, or handlers in this process.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/executor.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/end_wait.hpp>
#include <tether/detail/loopback/make_loopback.hpp>
#include <tether/detail/parent/make_supervisor.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/exit_status.hpp>
#include <tether/options.hpp>

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

// Thread-safe.
class PoolMembers {
public:
    using Carrier = std::shared_ptr<WorkerCarrier>;

    PoolMembers() = default;
    PoolMembers(const PoolMembers&) = delete;
    PoolMembers& operator=(const PoolMembers&) = delete;
    virtual ~PoolMembers() = default;

    virtual Carrier make(const std::shared_ptr<Hub>& hub) = 0;
    // Ends one that has no call, without waiting for that.
    virtual void retire(Carrier carrier) noexcept = 0;
    // Ends them side by side, with all that were retired, and waits.
    virtual void stop(const std::vector<Carrier>& carriers) = 0;
    // The last that is done with one.
    virtual void release(Carrier carrier) noexcept = 0;
};

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

}  // namespace detail
TETHER_NAMESPACE_END
