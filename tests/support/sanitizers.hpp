#pragma once

// TETHER_TEST_SANITIZED: a sanitizer owns the memory allocator and the address space, and
// allocations that cannot be had end the program.

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TETHER_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TETHER_TEST_SANITIZED 1
#endif
#endif
