// Why: a handler that forgets a request must not compile, so each request of a protocol has a pure
// virtual function of its own.
#pragma once

#include <tether/config.hpp>
#include <tether/request.hpp>

TETHER_NAMESPACE_BEGIN

template <class Request>
class CallContext;

namespace detail {

template <class Request>
class Handles {
public:
    virtual typename Request::Response handle(const Request& request,
                                              CallContext<Request>& call) = 0;

protected:
    ~Handles() = default;
};

template <class List>
class HandlesAll;

template <class... Requests>
class HandlesAll<Messages<Requests...>> : public Handles<Requests>... {
protected:
    ~HandlesAll() = default;
};

}  // namespace detail
TETHER_NAMESPACE_END
