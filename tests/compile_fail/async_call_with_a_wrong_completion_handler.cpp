// expect: a function that takes \(std::exception_ptr, Response\)
#include <tether/tether.hpp>

#include <exception>
#include <string>

struct Greet {
    static constexpr std::string_view name = "greet";
    using Response = std::string;
};
struct Protocol {
    static constexpr std::string_view name = "test.greet";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Greet>;
};

void greet(tether::Worker<Protocol>& worker) {
#if defined(TETHER_COMPILE_FAIL_FIX)
    worker.async_call(Greet{}, [](std::exception_ptr, const std::string&) {});
#else
    worker.async_call(Greet{}, [](const std::string&) {});
#endif
}
