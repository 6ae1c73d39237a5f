@0xd7b3a5f4c2e19806;

interface Calls {
  echo @0 (bytes :Data) -> (bytes :Data);
  compile @1 (file :Text, output :Text, flags :List(Text)) -> (diagnostics :List(Text));
}
