// What we use of the npm package raw-socket 1.8.1, which has no types of its own.
declare module "raw-socket" {
  import type { RawSocketModule } from "./raw-transport.ts";
  const rawSocket: RawSocketModule;
  export default rawSocket;
}
