# Functions that the tests are made of. tests/README.md tells what a writer of tests must know.

# tether_add_test_program(<target> [COMPILED] <source>...): a program that includes Tether as a user's does,
# header-only, or with tether::compiled and a precompiled header.
function(tether_add_test_program target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "COMPILED" "" "")
    add_executable(${target} ${arg_UNPARSED_ARGUMENTS})
    target_link_libraries(${target} PRIVATE tether::warnings)
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
    if(NOT arg_COMPILED)
        target_link_libraries(${target} PRIVATE tether::tether)
        return()
    endif()
    target_link_libraries(${target} PRIVATE tether::compiled Catch2::Catch2)
    if(TETHER_TEST_PCH)
        target_precompile_headers(${target} REUSE_FROM tether_test_pch_compiled)
    endif()
endfunction()

# tether_add_test_pch(<target> <tether> <header>...): headers to be compiled once for programs that link
# <tether>.
function(tether_add_test_pch target tether)
    file(CONFIGURE OUTPUT precompiled.cpp CONTENT "// empty: only the precompiled header counts\n")
    add_library(${target} OBJECT "${CMAKE_CURRENT_BINARY_DIR}/precompiled.cpp")
    target_link_libraries(${target} PRIVATE ${tether} Catch2::Catch2 tether::warnings)
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
    target_precompile_headers(${target} PRIVATE ${ARGN})
endfunction()

# tether_add_test_suite(<target> [COMPILED] FOLDER <name> [TIMEOUT <seconds>] [LIBRARIES ...]
# [DEFINITIONS ...])
# One program of all tests/<folder>/**/*_test.cpp; each test case is a test of ctest, "<folder>/<case>",
# with the folder as its label.
function(tether_add_test_suite target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "COMPILED" "FOLDER;TIMEOUT" "LIBRARIES;DEFINITIONS")
    set(tests "${PROJECT_SOURCE_DIR}/tests")
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${tests}/${arg_FOLDER}/*_test.cpp")
    if(NOT sources)
        return()
    endif()
    set(main "${tests}/${arg_FOLDER}/main.cpp")
    if(NOT EXISTS "${main}")
        set(main "${tests}/support/main.cpp")
    endif()
    set(compiled)
    if(arg_COMPILED)
        set(compiled COMPILED)
    endif()

    tether_add_test_program(${target} ${compiled} ${sources} "${main}")
    target_link_libraries(${target} PRIVATE tether_test_support ${arg_LIBRARIES})
    target_compile_definitions(${target} PRIVATE ${arg_DEFINITIONS})
    if(TETHER_TEST_PCH AND NOT arg_COMPILED)
        target_precompile_headers(${target} REUSE_FROM tether_test_pch)
    endif()
    tether_discover_tests(${target} "${arg_FOLDER}" "${arg_TIMEOUT}" ${sources})
endfunction()

# Lists the cases of a suite in ctest. Those tagged [serial] run while no other test does.
function(tether_discover_tests target folder timeout)
    set(properties LABELS ${folder} TIMEOUT ${timeout})
    if(NOT COMMAND catch_discover_tests) # Catch2 came without its CMake module
        add_test(NAME "${folder}/all" COMMAND ${target})
        set_tests_properties("${folder}/all" PROPERTIES LABELS ${folder} TIMEOUT 1200)
        return()
    endif()

    set(has_serial FALSE)
    foreach(source IN LISTS ARGN)
        file(STRINGS "${source}" serial REGEX "\\[serial\\]" LIMIT_COUNT 1)
        if(serial)
            set(has_serial TRUE)
        endif()
    endforeach()
    if(has_serial)
        catch_discover_tests(${target} TEST_PREFIX "${folder}/"
            TEST_SPEC "~[serial]" PROPERTIES ${properties})
        catch_discover_tests(${target} TEST_PREFIX "${folder}/"
            TEST_SPEC "[serial]" PROPERTIES ${properties} RUN_SERIAL TRUE)
    else()
        catch_discover_tests(${target} TEST_PREFIX "${folder}/" PROPERTIES ${properties})
    endif()
endfunction()

# tether_add_script_test(<name> <script> [<variable>=<value>...]): a test that is a CMake script. These
# tests look at sources and at the build, not at behaviour: label "static".
function(tether_add_script_test name script)
    list(TRANSFORM ARGN PREPEND -D OUTPUT_VARIABLE definitions)
    add_test(NAME "${name}" COMMAND ${CMAKE_COMMAND} ${definitions} -P "${script}")
    set_tests_properties("${name}" PROPERTIES LABELS static TIMEOUT 300)
endfunction()

# tether_add_header_checks(<target>): compiles each header alone, twice in one file, with all warnings.
function(tether_add_header_checks target)
    set(sources)
    foreach(header IN LISTS TETHER_HEADERS)
        cmake_path(RELATIVE_PATH header BASE_DIRECTORY "${PROJECT_SOURCE_DIR}/include")
        string(MAKE_C_IDENTIFIER "${header}" name)
        set(source "${CMAKE_CURRENT_BINARY_DIR}/${target}/${name}.cpp")
        file(CONFIGURE OUTPUT "${source}" CONTENT
            "#include <@header@>\n#include <@header@> // a second time: the include guard\n" @ONLY)
        list(APPEND sources "${source}")
    endforeach()
    add_library(${target} OBJECT ${sources})
    set_target_properties(${target} PROPERTIES UNITY_BUILD OFF)
    target_link_libraries(${target} PRIVATE tether::tether tether::warnings)
endfunction()
