#define KBIT_MATH_NAME "portable"
#include "math.inc"

const kbit::Math *kbit::math_portable() { return &kMath; }
