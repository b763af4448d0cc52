export { type ConclaveRegistration, type RegisterConclaveOptions, registerConclave } from "./register.ts";
export { BackendToken, ConclaveToken, electionToken, mutexToken, recipeToken, serviceToken } from "./tokens.ts";
