# Catch2 for the tests: version 3 or, on Debian 12, 2.13 from the machine, else downloaded, or taken from
# the archive that TETHER_CATCH2_URL names (a path will do) and TETHER_CATCH2_SHA256 vouches for.

find_package(Catch2 3 QUIET)
if(NOT Catch2_FOUND)
    find_package(Catch2 2.13 QUIET)
endif()
if(NOT Catch2_FOUND)
    set(TETHER_CATCH2_URL https://github.com/catchorg/Catch2/archive/refs/tags/v3.8.0.tar.gz
        CACHE STRING "Where to get Catch2 if this machine has none")
    set(TETHER_CATCH2_SHA256 1ab2de20460d4641553addfdfe6acd4109d871d5531f8f519a52ea4926303087
        CACHE STRING "The hash of that archive")
    include(FetchContent)
    FetchContent_Declare(Catch2 SYSTEM # the keyword must follow the name
        URL "${TETHER_CATCH2_URL}"
        URL_HASH SHA256=${TETHER_CATCH2_SHA256}
        DOWNLOAD_EXTRACT_TIMESTAMP TRUE)
    FetchContent_MakeAvailable(Catch2)
    list(APPEND CMAKE_MODULE_PATH "${catch2_SOURCE_DIR}/extras")
endif()

include(Catch OPTIONAL) # catch_discover_tests
