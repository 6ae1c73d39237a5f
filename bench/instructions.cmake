# Counts the instructions of each step of a call and compares them with bench/instructions.txt: a
# regression test that does not depend on how busy the machine is.
#
#   cmake -DPROGRAM=build/release/bench/tether_bench_instructions -P bench/instructions.cmake
#   ... -DUPDATE=ON ...    writes the budget anew
#
# The budget is of an optimised build by Debian 12's GCC. Ten per cent more are allowed.
cmake_minimum_required(VERSION 3.25)
find_program(VALGRIND valgrind REQUIRED)
set(budget_file "${CMAKE_CURRENT_LIST_DIR}/instructions.txt")

function(count_instructions step count result)
    execute_process(
        COMMAND "${VALGRIND}" --tool=callgrind --callgrind-out-file=/dev/null "${PROGRAM}" ${step} ${count}
        RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 120)
    if(NOT status EQUAL 0 OR NOT output MATCHES "Collected : ([0-9]+)")
        message(FATAL_ERROR "${PROGRAM} ${step} ${count}: ${status}\n${output}")
    endif()
    set(${result} ${CMAKE_MATCH_1} PARENT_SCOPE)
endfunction()

file(STRINGS "${budget_file}" lines)
set(measured "")
set(failed FALSE)
foreach(line IN LISTS lines)
    if(NOT line MATCHES "^([a-z_]+) +([0-9]+)$")
        string(APPEND measured "${line}\n")
        continue()
    endif()
    set(step ${CMAKE_MATCH_1})
    set(budget ${CMAKE_MATCH_2})
    count_instructions(${step} 500 few)
    count_instructions(${step} 1500 many)
    math(EXPR each "(${many} - ${few}) / 1000")
    math(EXPR percent "${each} * 100 / ${budget}")
    message(STATUS "${step}: ${each} instructions, ${percent} % of the budget of ${budget}")
    string(APPEND measured "${step} ${each}\n")
    if(percent GREATER 110)
        set(failed TRUE)
    elseif(percent LESS 90)
        message(STATUS "${step}: well done; keep it by writing the budget anew")
    endif()
endforeach()

if(UPDATE)
    file(WRITE "${budget_file}" "${measured}")
elseif(failed)
    message(FATAL_ERROR "a step of a call takes more instructions than it may, see above")
endif()
