# SPDX-License-Identifier: MIT
# For the tests of the program: a small data set in MNIST's format, always the same.

# Four bytes, most significant first.
big_endian() {
    printf '%b' "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 >> 24 & 255)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)))"
}

# sample_part DIR PART COUNT: COUNT images of 28 x 28 pixels with the labels 0, 1, ... 9, 0, ...
sample_part() {
    {
        big_endian 2051
        big_endian "$3"
        big_endian 28
        big_endian 28
        seq 1 10000000 | tr '0-9\n' '\000\040\100\150\170\210\230\260\320\350\377' | head -c $(($3 * 784))
    } >"$1/$2-images-idx3-ubyte"
    {
        big_endian 2049
        big_endian "$3"
        yes 0123456789 | tr -d '\n' | tr '0-9' '\000\001\002\003\004\005\006\007\010\011' | head -c "$3"
    } >"$1/$2-labels-idx1-ubyte"
}

# sample_data DIR: enough for the LoRA experiment, which sets 5,000 training images aside.
sample_data() {
    mkdir -p "$1"
    sample_part "$1" train 6000
    sample_part "$1" t10k 500
}
