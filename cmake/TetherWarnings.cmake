# tether::warnings: what Tether's own tests, examples and benchmarks are compiled with. Tether itself is
# included with -I, never -isystem, so its headers are held to the same. Whether a warning is an error
# is CMake's own switch: CMAKE_COMPILE_WARNING_AS_ERROR, which the presets turn on.

add_library(tether_warnings INTERFACE)
add_library(tether::warnings ALIAS tether_warnings)

target_compile_options(tether_warnings INTERFACE
    "$<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-Wall;-Wextra;-Wpedantic;-Wconversion;-Wshadow>")
