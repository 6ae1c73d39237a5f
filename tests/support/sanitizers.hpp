#pragma once

// TETHER_TEST_SANITIZED: a sanitizer owns the memory allocator and the address space, and an
// allocation that fails ends the program. TETHER_TEST_TSAN: the thread sanitizer has a thread of
// its own, and supports neither threads in a forked copy nor the unloading of code.

#if defined(__SANITIZE_THREAD__)
#define TETHER_TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TETHER_TEST_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define TETHER_TEST_SANITIZED 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(TETHER_TEST_TSAN)
#define TETHER_TEST_SANITIZED 1
#endif

namespace tether_test {

#if defined(TETHER_TEST_SANITIZED)
inline constexpr bool instrumented = true;
#else
inline constexpr bool instrumented = false;
#endif

}  // namespace tether_test
