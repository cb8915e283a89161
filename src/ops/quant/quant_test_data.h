/* Written by a program that ran llama.cpp v0.5.0's libggml-base over quant_test.c's numbers. */
#ifndef SR_QUANT_TEST_DATA_H
#define SR_QUANT_TEST_DATA_H
enum { GOLDEN_N = 8192 };

static const struct {
    uint32_t dtype;
    uint64_t decode, encode; /* FNV-1a of the values and of the bytes; 0: own search */
    double   rmse_wave, rmse_bell;
} golden[] = {
    {SR_Q4_0, 0x9b2e4846102a57d6u, 0x6237f9cdf5b2c980u, 0.037522, 0.0854545},
    {SR_Q8_0, 0x01447d6893ae5ad8u, 0xee04ef96abb5f7c4u, 0.00217366, 0.00531947},
    {SR_Q4_K, 0xa0ccc289225223f7u, 0x0u, 0.0317225, 0.0708346},
    {SR_Q5_K, 0xab9ddaa40e2192dfu, 0x0u, 0.0158706, 0.0358153},
    {SR_Q6_K, 0xbbd41c2b822ee366u, 0x0u, 0.00758912, 0.0177716},
    {SR_Q8_K, 0x4db62acafb1476fcu, 0x79b7fedbc404a061u, 0.00223567, 0.0070789},
};
#endif
