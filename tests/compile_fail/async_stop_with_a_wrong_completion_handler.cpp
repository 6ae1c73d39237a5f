// expect: \(std::exception_ptr, std::optional<ExitStatus>\) for async_stop
#include <tether/tether.hpp>

#include <exception>
#include <optional>
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

void stop(tether::Worker<Protocol>& worker) {
#if defined(TETHER_COMPILE_FAIL_FIX)
    worker.async_stop([](std::exception_ptr, std::optional<tether::ExitStatus>) {});
#else
    worker.async_stop([](std::optional<tether::ExitStatus>) {});
#endif
}
