// expect: deleted function
#include <tether/tether.hpp>

#include <exception>
#include <stdexcept>

// The error is a part of the exception, which would be gone already.
bool failed() {
#if defined(TETHER_COMPILE_FAIL_FIX)
    const auto failure = std::make_exception_ptr(std::runtime_error{"text"});
    return tether::error_of(failure) != nullptr;
#else
    return tether::error_of(std::make_exception_ptr(std::runtime_error{"text"})) != nullptr;
#endif
}
