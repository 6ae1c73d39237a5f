# What the headers need: a target for each, from the machine where it has them, else downloaded and
# checked by its hash. A parent project that brings the target itself is left alone.
#
# FETCHCONTENT_TRY_FIND_PACKAGE_MODE=NEVER downloads always, FETCHCONTENT_FULLY_DISCONNECTED=ON never.

set(TETHER_ASIO_MINIMUM 1.22.1)
set(TETHER_NLOHMANN_JSON_MINIMUM 3.11.2)

include(FetchContent)

FetchContent_Declare(Asio # 1.30.2
    URL https://github.com/chriskohlhoff/asio/archive/refs/tags/asio-1-30-2.tar.gz
    URL_HASH SHA256=755bd7f85a4b269c67ae0ea254907c078d408cce8e1a352ad2ed664d233780e8
    DOWNLOAD_EXTRACT_TIMESTAMP TRUE
    FIND_PACKAGE_ARGS ${TETHER_ASIO_MINIMUM} MODULE)

FetchContent_Declare(nlohmann_json # 3.11.3
    URL https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
    URL_HASH SHA256=d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d
    DOWNLOAD_EXTRACT_TIMESTAMP TRUE
    SOURCE_SUBDIR only-headers-are-needed # an absent folder: its CMakeLists.txt is not run
    FIND_PACKAGE_ARGS ${TETHER_NLOHMANN_JSON_MINIMUM})

# tether_require(<target> <content> HEADERS <folder of its source that has the headers> DEBIAN <package>)
# The targets are global, so that they also exist for a project that adds this one as a folder.
function(tether_require target content)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "HEADERS;DEBIAN" "")
    if(TARGET ${target})
        return()
    endif()
    message(CHECK_START "Looking for ${content} on this machine (Debian: ${arg_DEBIAN}), else downloading it")
    set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL TRUE)
    list(PREPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_FUNCTION_LIST_DIR}")
    FetchContent_MakeAvailable(${content})
    if(TARGET ${target})
        message(CHECK_PASS "found ${${content}_VERSION}")
    else()
        FetchContent_GetProperties(${content} SOURCE_DIR source_dir)
        add_library(${target} INTERFACE IMPORTED GLOBAL)
        target_include_directories(${target} INTERFACE "${source_dir}/${arg_HEADERS}")
        message(CHECK_PASS "downloaded")
    endif()
endfunction()

tether_require(Asio::asio Asio HEADERS asio/include DEBIAN libasio-dev)
tether_require(nlohmann_json::nlohmann_json nlohmann_json HEADERS include DEBIAN nlohmann-json3-dev)
get_target_property(TETHER_ASIO_INCLUDE_DIR Asio::asio INTERFACE_INCLUDE_DIRECTORIES)

if(NOT TARGET Threads::Threads)
    set(THREADS_PREFER_PTHREAD_FLAG TRUE)
    find_package(Threads REQUIRED GLOBAL)
endif()
