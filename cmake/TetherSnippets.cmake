# The code in README.md and docs/*.md, compiled. Each ```cpp block comes right after a comment that names it:
#
#   <!-- snippet: echo -->            has `main`: a program, built and run by ctest (`no-run`: only built);
#                                     else declarations, compiled after docs/snippets.hpp where that exists
#   <!-- snippet: echo_call body -->  statements, compiled as the body of a function (of a coroutine
#                                     where they say co_await), likewise
#   <!-- snippet: echo.hpp -->        a header that other snippets include by this name
#   <!-- snippet: none -->            not meant to compile

# tether_add_snippets(<page>...)
function(tether_add_snippets)
    set(snippets_dir "${CMAKE_CURRENT_BINARY_DIR}/snippets")
    set(fragments)
    foreach(page IN LISTS ARGN)
        if(EXISTS "${page}")
            tether_add_snippets_of_page("${page}")
        endif()
    endforeach()
    if(fragments)
        add_library(tether_snippets OBJECT ${fragments})
        target_link_libraries(tether_snippets PRIVATE tether::tether)
        target_include_directories(tether_snippets PRIVATE "${snippets_dir}")
        target_compile_options(tether_snippets PRIVATE
            $<TARGET_PROPERTY:tether_warnings,INTERFACE_COMPILE_OPTIONS> -Wno-unused)
    endif()
endfunction()

# Adds the programs of one page, and its other snippets to `fragments` of the caller.
function(tether_add_snippets_of_page page)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${page}")
    cmake_path(RELATIVE_PATH page BASE_DIRECTORY "${PROJECT_SOURCE_DIR}" OUTPUT_VARIABLE page_name)
    file(READ "${page}" rest)
    set(line 1)
    while(TRUE)
        string(FIND "${rest}" "```cpp\n" length)
        if(length EQUAL -1)
            break()
        endif()
        tether_take("${rest}" ${length} before rest)
        tether_take("${rest}" 7 fence rest)
        string(FIND "${rest}" "\n```" length)
        math(EXPR length "${length} + 1")
        tether_take("${rest}" ${length} code rest)

        tether_count_lines("${before}${fence}" lines)
        math(EXPR line "${line} + ${lines}")
        if(NOT before MATCHES "<!-- snippet: ([A-Za-z0-9_.]+) ?([a-z-]*) -->\n+$")
            message(FATAL_ERROR
                "${page_name}:${line}: this block has no name: write <!-- snippet: NAME --> above "
                "(cmake/TetherSnippets.cmake tells more)")
        endif()
        if(NOT CMAKE_MATCH_1 STREQUAL "none")
            tether_add_snippet("${CMAKE_MATCH_1}" "${CMAKE_MATCH_2}" "#line ${line} \"${page_name}\"\n${code}")
        endif()
        tether_count_lines("${code}" lines)
        math(EXPR line "${line} + ${lines}")
    endwhile()
    return(PROPAGATE fragments)
endfunction()

# Splits `text` after `length` bytes.
function(tether_take text length head tail)
    string(SUBSTRING "${text}" 0 ${length} ${head})
    string(SUBSTRING "${text}" ${length} -1 ${tail})
    return(PROPAGATE ${head} ${tail})
endfunction()

function(tether_count_lines text result)
    string(REGEX MATCHALL "\n" newlines "${text}")
    list(LENGTH newlines ${result})
    return(PROPAGATE ${result})
endfunction()

function(tether_add_snippet name kind code)
    if(name MATCHES "\\.hpp$")
        set(file "${snippets_dir}/${name}")
    else()
        set(file "${snippets_dir}/${name}.cpp")
    endif()
    set(is_program FALSE)
    if(code MATCHES "int main\\(")
        set(is_program TRUE)
    elseif(NOT name MATCHES "\\.hpp$")
        set(prelude "#include <tether/tether.hpp>\n")
        if(EXISTS "${PROJECT_SOURCE_DIR}/docs/snippets.hpp")
            string(APPEND prelude "#include \"${PROJECT_SOURCE_DIR}/docs/snippets.hpp\"\n")
        endif()
        if(kind STREQUAL "body" AND code MATCHES "co_await|co_return")
            set(code "#include <asio.hpp>\nasio::awaitable<void> snippet_${name}();\nasio::awaitable<void> snippet_${name}() {\n${code}}\n")
        elseif(kind STREQUAL "body")
            set(code "void snippet_${name}();\nvoid snippet_${name}() {\n${code}}\n")
        endif()
        string(PREPEND code "${prelude}")
    endif()
    file(CONFIGURE OUTPUT "${file}" CONTENT "@code@" @ONLY) # unlike file(WRITE), only when it differs

    if(is_program)
        tether_add_test_program(tether_snippet_${name} "${file}")
        target_include_directories(tether_snippet_${name} PRIVATE "${snippets_dir}")
        if(NOT kind STREQUAL "no-run")
            add_test(NAME "snippet/${name}" COMMAND tether_snippet_${name})
            set_tests_properties("snippet/${name}" PROPERTIES LABELS examples TIMEOUT 60)
        endif()
    else()
        list(APPEND fragments "${file}")
    endif()
    return(PROPAGATE fragments)
endfunction()
