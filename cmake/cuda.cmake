# The CUDA backend: whether it is built, for which cards, with which flags.
#   STRATA_CUDA_ARCHS   90a-real;75-virtual (default): machine code for Hopper, PTX that any card since Turing compiles when it loads
#                       all: machine code for every generation; 75-virtual alone: the code a Turing card gets, on any card
#   STRATA_CUDA_LINES   ON (default): kernels know their source lines, for profilers and compute-sanitizer, in two thirds of the binary
if(STRATA_CUDA STREQUAL "AUTO")
  find_program(STRATA_NVCC nvcc HINTS /usr/local/cuda/bin)
  if(STRATA_NVCC AND NOT STRATA_SANITIZE AND NOT STRATA_FUZZ) # checkers and nvcc do not mix
    set(STRATA_CUDA ON)
  else()
    set(STRATA_CUDA OFF)
  endif()
elseif(STRATA_CUDA)
  find_program(STRATA_NVCC nvcc HINTS /usr/local/cuda/bin REQUIRED)
endif()
if(STRATA_CUDA)
  set(CMAKE_CUDA_COMPILER ${STRATA_NVCC})
  if(STRATA_CUDA_ARCHS STREQUAL "all")
    set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90a-real 75-virtual)
  else()
    set(CMAKE_CUDA_ARCHITECTURES ${STRATA_CUDA_ARCHS})
  endif()
  list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "^90-real$" "90a-real") # wgmma is of sm_90a only
  enable_language(CUDA)
  string(APPEND CMAKE_CUDA_FLAGS " -std=c++20") # CMake 3.25 does not know that nvcc has it
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  set(CMAKE_CUDA_FLAGS_RELWITHDEBINFO "-O2 -g")
  if(STRATA_CUDA_LINES)
    string(APPEND CMAKE_CUDA_FLAGS_RELWITHDEBINFO " -lineinfo")
  endif()
  string(REGEX MATCH "^[0-9]+" STRATA_CUDA_MAJOR "${CMAKE_CUDA_COMPILER_VERSION}")
  # C with templates: nothing of the C++ runtime may be needed.
  add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-ffp-contract=off>"
    "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Werror all-warnings>")
  message(STATUS "CUDA backend: nvcc ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}")
else()
  message(STATUS "CUDA backend: left out")
endif()
