#include "math.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__)
#define KBIT_MATH_NAME "avx512"
#include "math.inc"

const kbit::Math *kbit::math_avx512() { return &kMath; }
#else
const kbit::Math *kbit::math_avx512() { return nullptr; }
#endif
