# Configures, builds and runs the project CONSUMER below WORK, with Tether installed in WORK/prefix.

cmake_minimum_required(VERSION 3.25)

cmake_path(GET CONSUMER FILENAME name)
set(build "${WORK}/${name}")
file(REMOVE_RECURSE "${build}")

function(run)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(NOT code EQUAL 0)
        list(JOIN ARGN " " command)
        message(FATAL_ERROR "${command}\nfailed (${code}):\n${output}")
    endif()
endfunction()

run("${CMAKE_COMMAND}" -S "${CONSUMER}" -B "${build}" -G "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_PREFIX_PATH=${WORK}/prefix"
    "-DTETHER_SOURCE_DIR=${TETHER_SOURCE_DIR}" "-DTETHER_VERSION=${VERSION}"
    "-DAsio_INCLUDE_DIR=${Asio_INCLUDE_DIR}")
run("${CMAKE_COMMAND}" --build "${build}")
if(EXISTS "${build}/consumer")
    run("${build}/consumer")
endif()
