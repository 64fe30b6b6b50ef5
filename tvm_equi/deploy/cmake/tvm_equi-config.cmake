# The target tvm_equi::tvm_equi: headers, libtvm_ffi.so and libtvm_runtime.so.
#
# In a folder that `tvm-equi runtime -o FOLDER` wrote, everything is beside this file. In a Python
# environment, the one of Python3_EXECUTABLE or on the PATH, Python is asked where things are.
cmake_minimum_required(VERSION 3.16)

if(NOT TARGET tvm_equi::tvm_equi)
  get_filename_component(_tvm_equi_root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
  if(EXISTS "${_tvm_equi_root}/lib/libtvm_ffi.so")
    set(_tvm_equi_parts
      "${_tvm_equi_root}/include" "${_tvm_equi_root}/lib/libtvm_ffi.so"
      "${_tvm_equi_root}/lib/libtvm_runtime.so")
  else()
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    execute_process(
      COMMAND "${Python3_EXECUTABLE}" -m tvm_equi.deploy cmake-parts
      OUTPUT_VARIABLE _tvm_equi_parts OUTPUT_STRIP_TRAILING_WHITESPACE
      RESULT_VARIABLE _tvm_equi_status)
    if(NOT _tvm_equi_status EQUAL 0)
      message(FATAL_ERROR "tvm_equi: expected a Python with tvm_equi, got ${Python3_EXECUTABLE}; "
        "set Python3_EXECUTABLE, or use a folder of `tvm-equi runtime`")
    endif()
  endif()
  set(_tvm_equi_includes ${_tvm_equi_parts})
  list(FILTER _tvm_equi_includes EXCLUDE REGEX "\\.so$")
  set(_tvm_equi_libraries ${_tvm_equi_parts})
  list(FILTER _tvm_equi_libraries INCLUDE REGEX "\\.so$")

  find_package(Threads REQUIRED)
  add_library(tvm_equi::tvm_equi INTERFACE IMPORTED)
  target_compile_features(tvm_equi::tvm_equi INTERFACE cxx_std_17)
  target_include_directories(tvm_equi::tvm_equi SYSTEM INTERFACE ${_tvm_equi_includes})
  foreach(_tvm_equi_library ${_tvm_equi_libraries})
    get_filename_component(_tvm_equi_name "${_tvm_equi_library}" NAME_WE)
    add_library(tvm_equi::${_tvm_equi_name} SHARED IMPORTED)
    set_target_properties(tvm_equi::${_tvm_equi_name} PROPERTIES
      IMPORTED_LOCATION "${_tvm_equi_library}")
  endforeach()
  # A program calls nothing of libtvm_runtime.so by name: the linker would leave it out.
  target_link_libraries(tvm_equi::tvm_equi INTERFACE
    -Wl,--push-state,--no-as-needed tvm_equi::libtvm_runtime tvm_equi::libtvm_ffi
    -Wl,--pop-state Threads::Threads ${CMAKE_DL_LIBS})
endif()
set(tvm_equi_FOUND TRUE)
