#pragma once

// Many calls in flight, the cheapest way: callbacks, each of which makes the next call.

#include <atomic>
#include <cstddef>
#include <exception>
#include <future>
#include <utility>

#include "processes.hpp"

namespace bench {

template <class Worker, class Request>
class Chain {
public:
    Chain(Worker& worker, Request request, std::size_t count)
        : worker_(worker),
          request_(std::move(request)),
          left_(static_cast<std::ptrdiff_t>(count)) {}

    /// The time of one call, while `depth` are under way at a time.
    Milliseconds run(std::size_t depth) {
        const auto start = Clock::now();
        const double count = double(left_);
        under_way_ = depth;
        for (std::size_t i = 0; i < depth; ++i) call();
        done_.get_future().get();
        return (Clock::now() - start) / count;
    }

private:
    void call() {
        using Response = typename Request::Response;
        worker_.async_call(request_, [this](std::exception_ptr error, const Response&) {
            if (error) std::rethrow_exception(error);
            if (left_.fetch_sub(1) > 1) return call();
            if (--under_way_ == 0) done_.set_value();
        });
    }

    Worker& worker_;
    const Request request_;
    std::atomic<std::ptrdiff_t> left_;
    std::atomic<std::size_t> under_way_{0};
    std::promise<void> done_;
};

}  // namespace bench
