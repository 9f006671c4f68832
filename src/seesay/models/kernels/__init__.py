"""Operations with hand-written gradients, faster than autograd's on CPUs; tests compare both."""
