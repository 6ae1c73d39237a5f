// Why: the answer of a call is built where its type is known, and sent where the connection is.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>

#include <stdexcept>
#include <string>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Builds and sends the answer of one call, while the handler's result is still alive.
class Responder {
public:
    virtual std::string& payload() = 0;
    virtual std::vector<const Bytes*>& blobs() = 0;
    virtual void send() = 0;

protected:
    ~Responder() = default;
};

// The request or the answer could not be converted; a type that no handler throws.
class CodecFailure : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace detail
TETHER_NAMESPACE_END
