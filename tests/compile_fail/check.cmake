# cmake -DOPTIONS=<options.cmake> -DSOURCE=<file> -P check.cmake
#
# Without SOURCE it precompiles the headers, which GCC and Clang look for beside PRECOMPILED.

cmake_minimum_required(VERSION 3.25)

include("${OPTIONS}")
list(REMOVE_ITEM DEFINITIONS "") # generator expressions that came to nothing
list(TRANSFORM DEFINITIONS PREPEND -D)
list(REMOVE_DUPLICATES INCLUDE_DIRECTORIES)
list(TRANSFORM INCLUDE_DIRECTORIES PREPEND -I)
set(ENV{LC_ALL} C) # messages in English, with plain quotes

set(command "${COMPILER}" -std=c++20 ${DEFINITIONS} ${INCLUDE_DIRECTORIES})
if(NOT DEFINED SOURCE)
    execute_process(COMMAND ${command} -x c++-header "${PRECOMPILED}" -o "${PRECOMPILED}.gch"
        COMMAND_ERROR_IS_FATAL ANY)
    return()
endif()

file(READ "${SOURCE}" source)
if(NOT source MATCHES "^// expect: ([^\n]+)\n")
    message(FATAL_ERROR "The first line of ${SOURCE} must be `// expect: <regular expression>`")
endif()
set(expected "${CMAKE_MATCH_1}")
set(most_lines 100)
if(source MATCHES "\n// lines: ([0-9]+)\n")
    set(most_lines ${CMAKE_MATCH_1})
endif()
set(include_precompiled -include "${PRECOMPILED}")
set(options)
if(source MATCHES "\n// options: ([^\n]+)\n")
    separate_arguments(options UNIX_COMMAND "${CMAKE_MATCH_1}")
    set(include_precompiled) # was compiled without these options
endif()

# Compiles SOURCE with additional options: exit code in `code`, what the compiler said in `output`.
function(compile)
    execute_process(
        COMMAND ${command} ${include_precompiled} -fsyntax-only ${ARGN} "${SOURCE}"
        RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
    return(PROPAGATE code output)
endfunction()

compile(-DTETHER_COMPILE_FAIL_FIX)
if(NOT code EQUAL 0)
    message(FATAL_ERROR "Must compile with TETHER_COMPILE_FAIL_FIX, but:\n${output}")
endif()

compile(${options})
if(code EQUAL 0)
    message(FATAL_ERROR "Compiles, and must not")
endif()
if(NOT output MATCHES "${expected}")
    message(FATAL_ERROR "The message does not match\n    ${expected}\nThe compiler said:\n${output}")
endif()

string(REGEX MATCHALL "\n" newlines "${output}")
list(LENGTH newlines lines)
if(lines GREATER most_lines)
    message(FATAL_ERROR "${lines} lines, where ${most_lines} were to be enough. The compiler said:\n${output}")
endif()
