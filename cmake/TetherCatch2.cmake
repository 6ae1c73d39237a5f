# Catch2 for the tests: version 3 or, on Debian 12, 2.13 from the machine, else downloaded.

find_package(Catch2 3 QUIET)
if(NOT Catch2_FOUND)
    find_package(Catch2 2.13 QUIET)
endif()
if(NOT Catch2_FOUND)
    include(FetchContent)
    FetchContent_Declare(Catch2 # 3.8.0
        URL https://github.com/catchorg/Catch2/archive/refs/tags/v3.8.0.tar.gz
        URL_HASH SHA256=1ab2de20460d4641553addfdfe6acd4109d871d5531f8f519a52ea4926303087
        DOWNLOAD_EXTRACT_TIMESTAMP TRUE
        SYSTEM)
    FetchContent_MakeAvailable(Catch2)
    list(APPEND CMAKE_MODULE_PATH "${catch2_SOURCE_DIR}/extras")
endif()

include(Catch OPTIONAL) # catch_discover_tests
