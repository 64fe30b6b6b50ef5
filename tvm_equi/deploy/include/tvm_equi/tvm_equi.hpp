// Everything: #include <tvm_equi/tvm_equi.hpp>
#pragma once

#include "model.hpp"
