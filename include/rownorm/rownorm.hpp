// SPDX-License-Identifier: MIT
// The umbrella: everything that needs no link flag; no code of its own.
#pragma once

#include "layer_norm.hpp"
#include "modules.hpp"
#include "rms_norm.hpp"
#include "types.hpp"
