// Why: what comes on a connection is put away under its lock. Listeners are told
// afterwards, under none, because that runs code of the user's.
#pragma once

#include <tether/config.hpp>

#include <atomic>

TETHER_NAMESPACE_BEGIN
namespace detail {

class NewsListener {
public:
    NewsListener() = default;
    NewsListener(const NewsListener&) = delete;
    NewsListener& operator=(const NewsListener&) = delete;
    virtual ~NewsListener() = default;

    // Something has come. On the background thread, or one in its place.
    virtual void on_news() {}

    std::atomic<bool> announced{false};  // on_news() is about to be called
};

}  // namespace detail
TETHER_NAMESPACE_END
