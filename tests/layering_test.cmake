# cmake -DINCLUDE_DIR=<include> -P layering_test.cmake
#
# The layers of docs/design.md, "Layers": a header includes its own layer or one below, never in a circle;
# layers 0 to 2 know neither Asio nor the operating system; layer 3 alone includes the system's headers,
# and the one in detail/posix/ that layer 0 needs.

cmake_minimum_required(VERSION 3.25)

# <layer> <regular expression for the path below tether/>: the first that matches counts.
set(layers
    "0 ^(version|config|fwd|duration|errc|error|exit_status|limits|logging|options|bytes|request|worker_state)\\.hpp$"
    "0 ^detail/(binary|blob_scope|block_cache|call_control|error_category|exit_words|handles)\\.hpp$"
    "0 ^detail/(options_check|platform_memory|printable|remote_cause|thrown)\\.hpp$"
    "0 ^detail/posix/memory\\.hpp$"
    "1 ^(protocol|handler|codec|direct_codec)\\.hpp$"
    "1 ^detail/(bytes_json|dom_conversion|dom_reader|fingerprint|handler_box)\\.hpp$"
    "1 ^detail/(direct_types|members|message_pack_parser|message_pack_reader|message_pack_writer)\\.hpp$"
    "1 ^detail/(own_conversion|payload|protocol_check|request_traits)\\.hpp$"
    "2 ^detail/(frame|envelope|handshake|host_mutex|held_lock|call_table|lifecycle)\\.hpp$"
    "2 ^detail/(active_calls|call|connection_owner|exchange|frame_reader|ledger|line_splitter|outbox|outgoing_message|post_mortem|spin|turn)\\.hpp$"
    "3 ^detail/(alarm|channel|child_process|control_link|runtime|output_pump|platform|guard|admission|wake_up_pool|worker_mark)\\.hpp$"
    "3 ^detail/(async_call|executor_hold|pending_list|work_hold)\\.hpp$"
    "3 ^detail/(posix|windows)/"
    "4 ^detail/(connection|connection_reading|session|session_background|session_health|supervisor|service|worker_main|loopback|typed_call)\\.hpp$"
    "5 ^(worker|worker_pool|serve|loopback_worker)\\.hpp$"
    "6 ^tether\\.hpp$")

set(problems "")

function(problem text)
    set(problems "${problems}\n    ${text}" PARENT_SCOPE)
endfunction()

# The layer of a header in `result`, or "" for one that the table does not know.
function(layer_of header result)
    set(${result} "" PARENT_SCOPE)
    foreach(entry IN LISTS layers)
        string(REGEX REPLACE "^([0-9]+) .*" "\\1" layer "${entry}")
        string(REGEX REPLACE "^[0-9]+ " "" pattern "${entry}")
        if(header MATCHES "${pattern}")
            set(${result} ${layer} PARENT_SCOPE)
            return()
        endif()
    endforeach()
endfunction()

# May a header include a header from outside of Tether?
function(outside_allowed header layer include result)
    if(include MATCHES "^([a-z_]+|cxxabi\\.h)$") # the standard library
        set(allowed TRUE)
    elseif(include MATCHES "^nlohmann/")
        string(COMPARE GREATER_EQUAL ${layer} 1 allowed)
    elseif(include MATCHES "^asio(/|\\.hpp$)")
        string(COMPARE GREATER_EQUAL ${layer} 3 allowed)
    elseif(header STREQUAL "detail/posix/memory.hpp")
        string(COMPARE EQUAL "${include}" "sys/mman.h" allowed)
    else() # the operating system
        string(COMPARE EQUAL ${layer} 3 allowed)
    endif()
    set(${result} ${allowed} PARENT_SCOPE)
endfunction()

cmake_path(ABSOLUTE_PATH INCLUDE_DIR)
file(GLOB_RECURSE headers RELATIVE "${INCLUDE_DIR}/tether" "${INCLUDE_DIR}/tether/*.hpp")
if(NOT headers)
    message(FATAL_ERROR "No headers in ${INCLUDE_DIR}/tether")
endif()

foreach(header IN LISTS headers)
    layer_of("${header}" layer)
    if(layer STREQUAL "")
        problem("${header}: no layer known; add it to the table in tests/layering_test.cmake")
        continue()
    endif()
    set(below_${header} "")
    file(STRINGS "${INCLUDE_DIR}/tether/${header}" lines REGEX "^[ \t]*#[ \t]*include")
    foreach(line IN LISTS lines)
        if(line MATCHES "<tether/([^>]+)>")
            set(include "${CMAKE_MATCH_1}")
            layer_of("${include}" include_layer)
            if(NOT include IN_LIST headers)
                problem("${header}: includes tether/${include}, which does not exist")
            elseif(include_layer STREQUAL "")
                continue() # reported for the header itself
            elseif(include_layer GREATER layer)
                problem("${header} (layer ${layer}) includes ${include} (layer ${include_layer})")
            endif()
            list(APPEND below_${header} "${include}")
        elseif(line MATCHES "<([^>]+)>")
            outside_allowed("${header}" ${layer} "${CMAKE_MATCH_1}" allowed)
            if(NOT allowed)
                problem("${header} (layer ${layer}) includes <${CMAKE_MATCH_1}>")
            endif()
        else()
            problem("${header}: not of the form #include <...>: ${line}")
        endif()
    endforeach()
endforeach()

# Circles: take away each header that includes none of those left, or that none of them includes, again
# and again. What stays is part of a circle, or between two.
set(left ${headers})
set(count_before -1)
list(LENGTH left count)
while(NOT count EQUAL count_before)
    set(count_before ${count})
    set(included "")
    foreach(header IN LISTS left)
        list(APPEND included ${below_${header}})
    endforeach()
    foreach(header IN LISTS left)
        set(includes_one FALSE)
        foreach(include IN LISTS below_${header})
            if(include IN_LIST left)
                set(includes_one TRUE)
            endif()
        endforeach()
        if(NOT includes_one OR NOT header IN_LIST included)
            list(REMOVE_ITEM left "${header}")
        endif()
    endforeach()
    list(LENGTH left count)
endwhile()
if(left)
    list(JOIN left ", " left)
    problem("a circle of includes is in: ${left}")
endif()

if(problems)
    message(FATAL_ERROR "The layers are broken:${problems}")
endif()
