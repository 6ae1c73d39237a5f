# cmake -DINCLUDE_DIR=<include> -P layering_test.cmake
#
# The rooms of docs/design.md: a header includes its own room and those that its room may know, never in a
# circle. The operating system is named in `os` alone, Asio only where the table says so. What a header only
# declares is defined in `impl`, which it includes at its end, except in separate compilation.

cmake_minimum_required(VERSION 3.25)

# <room> <regular expression for the path below tether/>: the first that matches counts.
set(places
    "base ^(version|config|duration|errc|error|exit_status|limits|logging|options|bytes|request|worker_state|pool_options|pool_statistics)\\.hpp$"
    "protocol ^(protocol|handler|codec|json_codec|direct_codec)\\.hpp$"
    "faces ^(worker|live_calls|any_worker|worker_pool|loopback_pool|basic_pool|pool_map|serve|loopback_worker|beside_executable)\\.hpp$"
    "coroutine ^(async_handler\\.hpp$|detail/coroutine/)"
    "call ^(stream|subscription)\\.hpp$"
    "all ^tether\\.hpp$"
    "src ^src\\.hpp$"
    "impl ^detail/impl/.*\\.ipp$"
    "below ^detail/os/(posix/)?(memory|signal_names)\\.hpp$"
    "watches ^detail/os/(posix/)?watches\\.hpp$"
    "base ^detail/base/" "codec ^detail/codec/" "protocol ^detail/protocol/" "wire ^detail/wire/"
    "os ^detail/os/" "transport ^detail/transport/" "background ^detail/background/" "call ^detail/call/"
    "worker ^detail/worker/"
    "connection ^detail/parent/(connection[a-z_]*|calls_of_the_dead|reader_role|settled_calls|wanted_mutex)\\.hpp$"
    "parent ^detail/parent/" "loopback ^detail/loopback/" "pool ^detail/pool/")

# What each may include beside itself and the standard library: rooms, and json, asio, system.
set(below_may system base)
set(base_may below)
set(codec_may base json)
set(protocol_may base codec json)
set(coroutine_may base codec protocol asio)
set(wire_may base)
set(os_may base system)
set(watches_may base asio)
set(transport_may base wire os)
set(background_may base os watches asio)
set(call_may base codec protocol wire background asio)
set(impl_may faces base codec protocol wire os watches transport background call worker parent loopback pool asio)
set(src_may base impl)
set(worker_may base protocol wire os transport)
set(connection_may base wire os transport background call)
set(parent_may connection base wire os watches transport background call asio)
# The connection, but neither supervisor nor session, launching nor output.
set(loopback_may base protocol wire os watches transport background call worker connection asio)
set(pool_may base protocol os watches background call asio)
set(faces_may base codec protocol call asio)
set(all_may ${faces_may} faces)

# The headers that faces, and pools, include of other rooms: what is behind them is compiled once.
set(doors detail/background/executor.hpp detail/worker/serve_as_worker.hpp
    detail/parent/make_supervisor.hpp detail/loopback/make_loopback.hpp detail/pool/make_pool.hpp)

# What only the operating system calls so: its functions, constants and types.
string(CONCAT system_names
    "(^|[^a-zA-Z_>:])::[a-z_]+\\(|MSG_[A-Z]|SHUT_|[^a-z_]errno[^a-z_]|[^A-Z_]O_[A-Z]|SIG[A-Z][A-Z][A-Z]|"
    "POLL(IN|OUT)|_FILENO|pid_t|ssize_t|idtype_t")

set(problems "")

function(problem text)
    set(problems "${problems}\n    ${text}" PARENT_SCOPE)
endfunction()

# The room of a header in `result`, or "" for one that has none.
function(room_of header result)
    set(${result} "" PARENT_SCOPE)
    foreach(place IN LISTS places)
        string(REGEX REPLACE "^([a-z]+) .*" "\\1" room "${place}")
        string(REGEX REPLACE "^[a-z]+ " "" pattern "${place}")
        if(header MATCHES "${pattern}")
            set(${result} ${room} PARENT_SCOPE)
            return()
        endif()
    endforeach()
endfunction()

# What an include from outside of Tether is: standard, json, asio or system.
function(kind_of include result)
    if(include MATCHES "^([a-z_]+|cxxabi\\.h)$")
        set(${result} standard PARENT_SCOPE)
    elseif(include MATCHES "^nlohmann/")
        set(${result} json PARENT_SCOPE)
    elseif(include MATCHES "^asio(/|\\.hpp$)")
        set(${result} asio PARENT_SCOPE)
    else()
        set(${result} system PARENT_SCOPE)
    endif()
endfunction()

cmake_path(ABSOLUTE_PATH INCLUDE_DIR)
file(GLOB_RECURSE headers RELATIVE "${INCLUDE_DIR}/tether"
    "${INCLUDE_DIR}/tether/*.hpp" "${INCLUDE_DIR}/tether/*.ipp")
if(NOT headers)
    message(FATAL_ERROR "No headers in ${INCLUDE_DIR}/tether")
endif()

foreach(header IN LISTS headers)
    room_of("${header}" room)
    if(room STREQUAL "")
        problem("${header}: in no room; see the table in tests/layering_test.cmake")
        continue()
    endif()
    set(below_${header} "")
    file(STRINGS "${INCLUDE_DIR}/tether/${header}" lines REGEX "^[ \t]*#[ \t]*include")
    foreach(line IN LISTS lines)
        if(line MATCHES "<tether/([^>]+)>")
            set(include "${CMAKE_MATCH_1}")
            room_of("${include}" other)
            if(NOT include IN_LIST headers)
                problem("${header}: includes tether/${include}, which does not exist")
            elseif(other STREQUAL impl AND NOT room STREQUAL src)
                cmake_path(GET header STEM stem)
                if(NOT include STREQUAL "detail/impl/${stem}.ipp")
                    problem("${header} (${room}) includes ${include}, the definitions of another header")
                endif()
                continue()
            elseif(room MATCHES "^(faces|pool)$" AND include IN_LIST doors)
            elseif(NOT other STREQUAL room AND NOT other IN_LIST ${room}_may)
                problem("${header} (${room}) includes ${include} (${other})")
            endif()
            list(APPEND below_${header} "${include}")
        elseif(line MATCHES "<([^>]+)>")
            kind_of("${CMAKE_MATCH_1}" kind)
            if(NOT kind STREQUAL "standard" AND NOT kind IN_LIST ${room}_may)
                problem("${header} (${room}) includes <${CMAKE_MATCH_1}>")
            endif()
        else()
            problem("${header}: not of the form #include <...>: ${line}")
        endif()
    endforeach()
    if(header MATCHES "^detail/os/")
        continue()
    endif()
    file(STRINGS "${INCLUDE_DIR}/tether/${header}" lines REGEX "${system_names}")
    foreach(line IN LISTS lines)
        string(REGEX REPLACE "//.*" "" code "${line}")
        if(code MATCHES "${system_names}")
            problem("${header} (${room}) names the operating system: ${line}")
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
    message(FATAL_ERROR "The rooms are broken:${problems}")
endif()
