// Why: an exception travels to another process as values: its code and message, and those of the
// exceptions nested in it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/thrown.hpp>
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
        return {bounded_text(own->code()), text_of(error)};
    }
    if (const auto* system = dynamic_cast<const std::system_error*>(&error)) {
        return {bounded_text(system->code().category().name()) + ":" +
                    std::to_string(system->code().value()),
                text_of(error)};
    }
    if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr)
        return {"bad_alloc", text_of(error)};
    return {"exception", text_of(error)};
}

// The exception that is nested in the one being handled, whatever the type of that.
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
            chain.push_back({"unknown", foreign_text});
            pointer = nested_in_current();
        }
    }
    return chain;
}

// Describes the exception being handled; never empty. Throws only std::bad_alloc.
inline std::vector<RemoteCause> describe_thrown() {
    try {
        auto chain = describe_chain(std::current_exception());
        // current_exception() is null for an exception of another language.
        if (chain.empty()) chain.push_back({"unknown", foreign_text});
        return chain;
    } catch (const std::bad_alloc&) {
        return {{"bad_alloc", "no memory to describe an exception"}};
    }
}

// The same in one line.
inline std::string describe_thrown_in_words() {
    std::string text;
    for (const auto& cause : describe_thrown()) {
        text += (text.empty() ? "" : "; caused by: ") + cause.message;
    }
    return text;
}

// The answer when pthread_exit or a cancellation has ended the handler's thread.
inline std::vector<RemoteCause> describe_ended_thread() {
    return {{"unknown", "the handler ended its thread (pthread_exit, or a cancellation)"}};
}

}  // namespace detail
TETHER_NAMESPACE_END
