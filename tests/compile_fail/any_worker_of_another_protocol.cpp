// expect: WorkerOf
#include <tether/tether.hpp>

#include <string>

struct Greet {
    static constexpr std::string_view name = "greet";
    using Response = std::string;
};
template <int>
struct Protocol {
    static constexpr std::string_view name = "test.greet";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Greet>;
};

void greet(tether::Worker<Protocol<1>>& worker) {
#if defined(TETHER_COMPILE_FAIL_FIX)
    tether::AnyWorker<Protocol<1>> any{worker};
#else
    tether::AnyWorker<Protocol<2>> any{worker};
#endif
    any.async_call(Greet{}, [](std::exception_ptr, const std::string&) {});
}
