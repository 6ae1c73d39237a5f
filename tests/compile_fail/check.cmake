# cmake -DSOURCE=<file> -DOPTIONS=<options.cmake> -P check.cmake

cmake_minimum_required(VERSION 3.25)

include("${OPTIONS}")
list(REMOVE_ITEM DEFINITIONS "") # generator expressions that came to nothing
list(TRANSFORM DEFINITIONS PREPEND -D)
list(REMOVE_DUPLICATES INCLUDE_DIRECTORIES)
list(TRANSFORM INCLUDE_DIRECTORIES PREPEND -I)
set(ENV{LC_ALL} C) # messages in English, with plain quotes

file(STRINGS "${SOURCE}" first_line LIMIT_COUNT 1)
if(NOT first_line MATCHES "^// expect: (.+)$")
    message(FATAL_ERROR "The first line of ${SOURCE} must be `// expect: <regular expression>`")
endif()
set(expected "${CMAKE_MATCH_1}")

# Compiles SOURCE with additional options: exit code in `code`, what the compiler said in `output`.
function(compile)
    execute_process(
        COMMAND "${COMPILER}" -std=c++20 -fsyntax-only ${DEFINITIONS} ${INCLUDE_DIRECTORIES} ${ARGN} "${SOURCE}"
        RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
    return(PROPAGATE code output)
endfunction()

compile(-DTETHER_COMPILE_FAIL_FIX)
if(NOT code EQUAL 0)
    message(FATAL_ERROR "Must compile with TETHER_COMPILE_FAIL_FIX, but:\n${output}")
endif()

compile()
if(code EQUAL 0)
    message(FATAL_ERROR "Compiles, and must not")
endif()
if(NOT output MATCHES "${expected}")
    message(FATAL_ERROR "The message does not match\n    ${expected}\nThe compiler said:\n${output}")
endif()
