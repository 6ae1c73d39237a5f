// Why: an exception must survive the way to another process as values: code, message, and what it
// was nested in.
#pragma once

#include <tether/config.hpp>
#include <tether/error.hpp>

#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline RemoteCause describe(const std::exception& error) {
    if (const auto* own = dynamic_cast<const HandlerError*>(&error)) {
        return {own->code(), error.what()};
    }
    if (const auto* system = dynamic_cast<const std::system_error*>(&error)) {
        return {std::string{system->code().category().name()} + ":" +
                    std::to_string(system->code().value()),
                error.what()};
    }
    if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return {"bad_alloc", error.what()};
    return {"exception", error.what()};
}

// What the exception that is being handled was nested in, whatever its own type is.
inline std::exception_ptr nested_in_current() {
    try {
        throw;
    } catch (const std::nested_exception& nested) {
        return nested.nested_ptr();
    } catch (...) {
        return nullptr;
    }
}

// The chain of nested exceptions, outermost first. Bounded: a chain may be a circle.
inline std::vector<RemoteCause> describe_chain(std::exception_ptr pointer) {
    std::vector<RemoteCause> chain;
    while (pointer != nullptr && chain.size() < 16) {
        try {
            std::rethrow_exception(std::exchange(pointer, nullptr));
        } catch (const std::exception& error) {
            chain.push_back(describe(error));
            if (const auto* nested = dynamic_cast<const std::nested_exception*>(&error)) {
                pointer = nested->nested_ptr();
            }
        } catch (...) {
            chain.push_back({"unknown", "an exception that is no std::exception"});
            pointer = nested_in_current();
        }
    }
    return chain;
}

}  // namespace detail
TETHER_NAMESPACE_END
